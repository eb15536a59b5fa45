"""Upscale the content of one image file to that of a PNG file, as `sr.predict` does: what a registered model computes."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from sr.image.formats import find_format
from sr.prediction.api import load
from sr.prediction.opened_job import UpscaleJob
from sr.prediction.pipeline import iterate_upscaled
from sr.runtime.error import UserError

CODE = '''"""A network of sr for MLflow. It needs the Python package sr, which this folder does not hold."""

from sr.registration.upscaler import load_upscaler
from sr.track.pyfunc import publish

publish(load_upscaler)
'''


def load_upscaler(checkpoint: Path) -> Callable[[bytes], bytes]:
    """Return a function that upscales with this checkpoint, on the accelerator if there is one.

    It takes the content of an image file of any format that sr reads, returns that of a PNG file with the pixels that
    sr.predict writes, and raises `UserError`, without the path of any file, if that is not possible.
    """
    model = load(checkpoint)
    png = find_format("png")

    def upscale(content: bytes) -> bytes:
        with tempfile.TemporaryDirectory(prefix="sr-") as folder:
            source, target = Path(folder) / "image", Path(folder) / "result.png"
            source.write_bytes(content)
            (result,) = iterate_upscaled(model, [UpscaleJob(source, target, png)])
            if result.error is not None:
                raise UserError(str(result.error).removeprefix(f"{source}: ").replace(str(source), "image"))
            return target.read_bytes()

    return upscale
