"""The precision of float32 products, which PyTorch's settings may reduce (TF32: 10 mantissa bits, bfloat16: 7).

PyTorch has two interfaces for these settings, and reading the older one raises an error after the newer one has been used.
"""

import contextlib
import platform
from collections.abc import Iterator
from typing import Any

import torch
from torch import backends

FULL = ("none", "ieee")  # values of `fp32_precision` that reduce nothing


@contextlib.contextmanager
def use_full_precision(device: str) -> Iterator[None]:
    """Compute float32 products in full precision on every device, without autocast; restore the settings afterwards."""
    with torch.autocast(device, enabled=False), contextlib.ExitStack() as after:
        for setting in _list_settings().values():  # restored last, since the older interface changes them as well
            after.callback(setattr, setting, "fp32_precision", setting.fp32_precision)
        with contextlib.suppress(RuntimeError):
            after.callback(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
            torch.set_float32_matmul_precision("highest")
        with contextlib.suppress(RuntimeError):
            after.callback(setattr, backends.cudnn, "allow_tf32", backends.cudnn.allow_tf32)
            backends.cudnn.allow_tf32 = False
        for setting in _list_settings().values():
            if setting.fp32_precision not in FULL:
                setting.fp32_precision = "ieee"
        yield


def is_full_precision(device: torch.device) -> bool:
    """Return True if products of float32 have full precision on this device with the present settings."""
    if device.type != "cpu":
        return device.type == "mps"  # a GPU may use TF32, and a TPU always uses bfloat16
    setting = _list_settings().get("mkldnn_matmul")
    return setting.fp32_precision in FULL if setting else torch.get_float32_matmul_precision() == "highest"


def has_fast_bf16(device: torch.device) -> bool:
    """Return False for a CPU without instructions for bf16, which computes it about 20 times as slowly as float32."""
    is_x86 = device.type == "cpu" and platform.machine() in ("x86_64", "AMD64")
    return not is_x86 or torch.cpu._is_avx512_bf16_supported()


def read_settings() -> dict[str, Any]:
    """Return PyTorch's precision settings, for the run's record."""
    try:
        return {
            "matmul_precision": torch.get_float32_matmul_precision(),
            "tf32_matmul": backends.cuda.matmul.allow_tf32,
            "tf32_cudnn": backends.cudnn.allow_tf32,
        }
    except RuntimeError:
        return {f"precision_{name}": setting.fp32_precision for name, setting in _list_settings().items()}


def _list_settings() -> dict[str, Any]:
    """Return the objects of the newer interface (PyTorch 2.9 and later), each with an attribute `fp32_precision`."""
    if not hasattr(backends.mkldnn, "conv"):
        return {}
    return {
        "matmul": backends.cuda.matmul,
        "cudnn": backends.cudnn.conv,
        "mkldnn_matmul": backends.mkldnn.matmul,
        "mkldnn_conv": backends.mkldnn.conv,
    }
