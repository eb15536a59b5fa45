"""How many binary digits a product of float32 keeps: fewer (TF32's ten, bfloat16's seven) where PyTorch was told so.

PyTorch has two interfaces for it, and refuses to read the older after the newer said something else.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import backends

WHOLE = ("none", "ieee")  # what a setting says that drops no digits


@contextlib.contextmanager
def use_full_precision(device: str) -> Iterator[None]:
    """All of float32's digits, on every device, and no half precision; afterwards as it was."""
    with torch.autocast(device, enabled=False), contextlib.ExitStack() as after:
        for knob in _newer().values():  # put back last, since the older interface sets them as well
            after.callback(setattr, knob, "fp32_precision", knob.fp32_precision)
        with contextlib.suppress(RuntimeError):
            after.callback(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
            torch.set_float32_matmul_precision("highest")
        with contextlib.suppress(RuntimeError):
            after.callback(setattr, backends.cudnn, "allow_tf32", backends.cudnn.allow_tf32)
            backends.cudnn.allow_tf32 = False
        for knob in _newer().values():
            if knob.fp32_precision not in WHOLE:
                knob.fp32_precision = "ieee"
        yield


def is_full_precision(device: torch.device) -> bool:
    """Whether a product of float32 keeps all its digits there, whatever PyTorch was told."""
    if device.type != "cpu":
        return device.type == "mps"  # a GPU may drop digits, and a TPU always does
    knob = _newer().get("mkldnn_matmul")
    return knob.fp32_precision in WHOLE if knob else torch.get_float32_matmul_precision() == "highest"


def read_settings() -> dict[str, Any]:
    """What PyTorch was told of it, for the record."""
    try:
        return {
            "matmul_precision": torch.get_float32_matmul_precision(),
            "tf32_matmul": backends.cuda.matmul.allow_tf32,
            "tf32_cudnn": backends.cudnn.allow_tf32,
        }
    except RuntimeError:
        return {f"precision_{name}": knob.fp32_precision for name, knob in _newer().items()}


def _newer() -> dict[str, Any]:
    """The newer interface, of PyTorch 2.9 and later."""
    if not hasattr(backends.mkldnn, "conv"):
        return {}
    return {
        "matmul": backends.cuda.matmul,
        "cudnn": backends.cudnn.conv,
        "mkldnn_matmul": backends.mkldnn.matmul,
        "mkldnn_conv": backends.mkldnn.conv,
    }
