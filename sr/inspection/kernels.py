"""The common ways of downscaling an image, to identify the one that made an LR file."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from sr.image.resize import imresize
from sr.metric.psnr import psnr

Kernel = Callable[[Tensor, int], Tensor]  # uint8 [C, s·h, s·w], s -> uint8 [C, h, w]


def _round_levels(image: Tensor) -> Tensor:
    return (image + 0.5).floor().clamp(0, 255).to(torch.uint8)


def _use_pillow(method: Image.Resampling) -> Kernel:
    """Return a kernel of Pillow; all its methods but NEAREST widen their kernel when they downscale."""

    def downscale(hr: Tensor, scale: int) -> Tensor:
        size = hr.shape[2] // scale, hr.shape[1] // scale
        channels = [np.array(Image.fromarray(c.numpy()).resize(size, method)) for c in hr]
        return torch.from_numpy(np.stack(channels))

    return downscale


def _use_torch(mode: str, antialias: bool) -> Kernel:
    """Return a kernel of PyTorch, with half-pixel centers. Without antialias a = -0.75, as in OpenCV's INTER_CUBIC."""

    def downscale(hr: Tensor, scale: int) -> Tensor:
        size = [n // scale for n in hr.shape[1:]]
        result = F.interpolate(hr.double()[None], size, mode=mode, align_corners=False, antialias=antialias)[0]
        return _round_levels(result)

    return downscale


KERNELS: dict[str, tuple[str, Kernel]] = {
    "matlab": ("MATLAB's bicubic, mirror border", lambda hr, s: imresize(hr, 1 / s)),
    "matlab_replicate": (
        "MATLAB's bicubic, replicate border (older MATLAB)",
        lambda hr, s: imresize(hr, 1 / s, border="replicate"),
    ),
    "matlab_once": (
        "MATLAB's bicubic rounded once (a Python port, such as BasicSR's)",
        lambda hr, s: _round_levels(imresize(hr.double(), 1 / s)),
    ),
    "matlab_aliased": (
        "MATLAB's bicubic without antialiasing",
        lambda hr, s: imresize(hr, 1 / s, antialias=False),
    ),
    "opencv_cubic": ("OpenCV's INTER_CUBIC (a = -0.75, no antialiasing)", _use_torch("bicubic", False)),
    "pillow_bicubic": ("Pillow's bicubic", _use_pillow(Image.Resampling.BICUBIC)),
    "pillow_lanczos": ("Pillow's Lanczos", _use_pillow(Image.Resampling.LANCZOS)),
    "pillow_bilinear": ("Pillow's bilinear (antialiased)", _use_pillow(Image.Resampling.BILINEAR)),
    "torch_bicubic": ("torch's bicubic with antialias=True", _use_torch("bicubic", True)),
    "box": (
        "the mean of s×s pixels (box, OpenCV's INTER_AREA)",
        lambda hr, s: _round_levels(F.avg_pool2d(hr.double(), s)),
    ),
    "bilinear": ("bilinear without antialiasing (OpenCV's INTER_LINEAR)", _use_torch("bilinear", False)),
    "subsampled": ("every s-th pixel, [::s, ::s] (OpenCV's INTER_NEAREST)", lambda hr, s: hr[:, ::s, ::s]),
    "subsampled_center": (
        "every s-th pixel, [s//2::s, s//2::s] (Pillow's NEAREST)",
        _use_pillow(Image.Resampling.NEAREST),
    ),
}


def compute_displacement(kernel: str, scale: int) -> float:
    """Return by how many LR pixels `kernel` moves an image down and right; only the subsampling kernels move it."""
    first = {"subsampled": 0, "subsampled_center": scale // 2}.get(kernel)
    return 0.0 if first is None else ((scale - 1) / 2 - first) / scale


def score_kernels(lr: Tensor, hr: Tensor, scale: int, first: str) -> dict[str, float]:
    """Return the PSNR of `lr` `[C, h, w]` against the result of each kernel for `hr` `[C, s·h, s·w]`, both uint8, best first.

    If the kernel `first` gives exactly `lr`, the others are skipped.
    """
    if first in KERNELS and torch.equal(KERNELS[first][1](hr, scale), lr):
        return {first: float("inf")}
    scores = {name: psnr(kernel(hr, scale)[None], lr[None]).item() for name, (_, kernel) in KERNELS.items()}
    return dict(sorted(scores.items(), key=lambda item: -item[1]))
