"""The loggers that `sr.bench` compares: this project's tracker of MLflow, and those of Lightning and MLflow."""

import sr.runtime.torchvision_shim  # noqa: F401  before Lightning and torchmetrics

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric
from PIL.Image import Image
from pytorch_lightning.loggers import MLFlowLogger

from sr.track.mlflow import MLflow
from sr.track.upload import Upload

SCALAR_LOGGER = "pytorch_lightning.loggers.MLFlowLogger.log_metrics, into SQLite"
IMAGE_LOGGER = "the panel drawn, then MlflowClient.log_image, into SQLite"


@contextlib.contextmanager
def open_tracker(uri: str | None = None) -> Iterator[tuple[MLflow, Callable[[], bool]]]:
    """Yield the tracker of a started run, and a function that returns True if its MLflow has everything uploaded."""
    with tempfile.TemporaryDirectory() as runs:
        folder = Path(runs) / "run"
        folder.mkdir()
        tracker = MLflow(uri, runs, "bench")
        tracker.start("bench", folder, {}, [], {})
        tracker.wait_for_page()
        try:
            yield tracker, lambda: Upload(folder, tracker.uri, tracker.runs).is_complete
        finally:
            tracker.close("FINISHED")


def create_scalar_logger(folder: str) -> Callable[[dict[str, float], int], None]:
    """Return Lightning's `log_metrics` of a run that is open already, with its database in `folder`."""
    logger = MLFlowLogger("bench", tracking_uri=f"sqlite:///{folder}/mlflow.db", artifact_location=folder)
    logger.log_metrics({"a": 0.0}, 0)
    return logger.log_metrics


def log_values(client: MlflowClient, run_id: str, values: Mapping[str, float], step: int) -> None:
    """Log the values of a step in one call of MLflow's own client."""
    now = int(1000 * time.time())
    client.log_batch(run_id, metrics=[Metric(*item, now, step) for item in values.items()])


def create_image_logger(tracker: MLflow) -> Callable[[Image, int], None]:
    """Return a function that logs an image to the tracker's run as MLflow's own client does."""
    client, run_id = MlflowClient(tracker.uri), tracker.run_id

    def log_image(image: Image, step: int) -> None:
        client.log_image(run_id, image, key="x", step=step, synchronous=True)

    return log_image
