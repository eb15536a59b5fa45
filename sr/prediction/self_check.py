"""Measure on the first image what another backend, or a lower precision, changes: PSNR against float32 of PyTorch."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from sr.checkpoint.load import LoadedNet
from sr.image.file_format import ReadOptions, Window
from sr.image.read import open_image_file
from sr.inference.upscale import upscale
from sr.prediction.jobs import Job
from sr.prediction.levels import Levels
from sr.runtime.error import UserError

SIDE = 128  # LR pixels of the center of the image that is upscaled by both
MIN_PSNR = 30.0  # dB: below it something is wrong


@torch.no_grad()
def measure_backend(
    jobs: Iterable[Job], model: LoadedNet, reference: LoadedNet, label: str, options: ReadOptions
) -> str | None:
    """Return a line such as `precision=bf16: 58.1 dB against float32 of PyTorch (…)`; None if no image can be read.

    Raises:
        UserError: the results differ by so much that the network must not be computed in this way.
    """
    for job in jobs:
        try:
            lr = _read_center(job, reference, options)
        except UserError:  # reported when this image is upscaled
            continue
        return _compare_results(lr, model, reference, label, job.source.name)
    return None


def _read_center(job: Job, reference: LoadedNet, options: ReadOptions) -> Tensor:
    """Return `[1, C, h, w]` in 0…1, of at most `SIDE` pixels on each side."""
    with open_image_file(job.source, options) as file:
        levels = Levels(reference, file.header, file.header, str(job.source))
        h, w = levels.lr_size
        window = Window(max(0, h - SIDE) // 2, max(0, w - SIDE) // 2, min(h, SIDE), min(w, SIDE))
        return levels.prepare(file.read(0, window).pixels)[:1]


def _compare_results(lr: Tensor, model: LoadedNet, reference: LoadedNet, label: str, name: str) -> str:
    expected, found = (upscale(one.net, lr, one.color).clamp(0, 1) for one in (reference, model))
    error = (expected - found).square().mean().item()
    psnr = -math.inf  # of a result that is not finite
    if math.isfinite(error):
        psnr = math.inf if error == 0 else -10 * math.log10(error)
    size = f"{lr.shape[-1]}×{lr.shape[-2]} pixels of {name}"
    if psnr < MIN_PSNR:
        raise UserError(
            f"{label}: expected the results of float32 in PyTorch (found {psnr:.1f} dB on {size}); leave it out, this "
            "network needs full precision"
        )
    difference = "no difference from" if math.isinf(psnr) else f"{psnr:.1f} dB against"
    return f"{label}: {difference} float32 of PyTorch, measured on {size}"
