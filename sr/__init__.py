"""Train, evaluate and use networks for image super-resolution.

The Python API; everything is imported on first use:

    model = sr.load("best.ckpt")                      # the net of a checkpoint, or of a published weight file
    large = sr.upscale(model, image)                  # a NumPy, Pillow or torch image -> the same kind
    sr.score(large, reference, scale=model.scale)     # {"psnr": …, "ssim": …} under a named protocol
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sr.evaluation.score import score
    from sr.prediction.api import load, upscale

__version__ = "0.1.0"
__all__ = ["__version__", "load", "score", "upscale"]

_MODULES = {"load": "sr.prediction.api", "upscale": "sr.prediction.api", "score": "sr.evaluation.score"}


def __getattr__(name: str) -> Any:
    """Import a function of the API when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
