"""A network as a model of MLflow, which is loaded from code: Base64 of image files in, Base64 of PNG files out.

Nothing is pickled: the folder of a model holds the checkpoint, and a few lines of Python that import sr and call `publish`.
"""

import base64
import binascii
import logging
import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from sr.runtime.error import UserError
from sr.track.server import set_client_variables

set_client_variables()
os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")

from mlflow import pyfunc  # noqa: E402  after the variables, which it reads
from mlflow.exceptions import MlflowException  # noqa: E402
from mlflow.models import set_model  # noqa: E402
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE  # noqa: E402

Upscale = Callable[[bytes], bytes]  # the content of an image file -> that of a PNG file
CHECKPOINT = "checkpoint"  # the name of the file among those of the model


class ImageModel(pyfunc.PythonModel):
    """Upscales images; `load` returns the function that does it, from the path of the checkpoint."""

    def __init__(self, load: Callable[[Path], Upscale]) -> None:
        self._load = load
        self._lock = threading.Lock()  # MLflow's server calls `predict` in several threads

    def load_context(self, context: pyfunc.PythonModelContext) -> None:
        """Load the checkpoint; MLflow calls this once, before `predict`."""
        self._upscale = self._load(Path(context.artifacts[CHECKPOINT]))

    def predict(
        self, context: pyfunc.PythonModelContext, model_input: list[str], params: dict[str, str] | None = None
    ) -> list[str]:
        """Upscale the images one by one. An error has no traceback: MLflow's server would send it to the client."""
        return [self._upscale_text(text, f"image {number}") for number, text in enumerate(model_input, 1)]

    def _upscale_text(self, text: str, name: str) -> str:
        try:
            content = base64.b64decode("".join(text.split()), validate=True)
        except (binascii.Error, ValueError):
            raise _refuse(f"{name}: expected the Base64 code of an image file") from None
        try:
            with self._lock:
                result = self._upscale(content)
        except UserError as error:
            raise _refuse(f"{name}: {error}") from None
        except Exception as error:
            raise _refuse(f"{name}: cannot be upscaled ({type(error).__name__})") from None
        return base64.b64encode(result).decode("ascii")


def publish(load: Callable[[Path], Upscale]) -> None:
    """Give MLflow the model; this is called by the code in the folder of a model."""
    set_model(ImageModel(load))


def write_model(folder: Path, code: str, checkpoint: Path, example: bytes | None) -> None:
    """Write the folder of a model, and load and use it once; raise if MLflow cannot.

    Args:
        folder: does not exist yet.
        code: Python that calls `publish`.
        checkpoint: is copied.
        example: the content of an image file, stored as the example of an input; None if no image file can be one.
    """
    logging.getLogger("mlflow").setLevel(logging.CRITICAL)  # it logs what the model has already
    images = None if example is None else [base64.b64encode(example).decode("ascii")]
    with tempfile.TemporaryDirectory(prefix="sr-model-") as temporary:
        file = Path(temporary) / "model.py"
        file.write_text(code, encoding="utf-8")
        pyfunc.save_model(
            folder,
            python_model=str(file),
            artifacts={CHECKPOINT: str(checkpoint)},
            input_example=images,
            pip_requirements=[],  # without sr, whose name at a package index may be another's package
        )
    if images:
        pyfunc.load_model(str(folder)).predict(images)


def _refuse(message: str) -> MlflowException:
    return MlflowException(message, error_code=INVALID_PARAMETER_VALUE)
