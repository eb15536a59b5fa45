"""Measure on the first image what another backend, or a lower precision, changes: PSNR against float32 of PyTorch."""

import math

import torch

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
def check_backend_on(job: Job, model: LoadedNet, reference: LoadedNet, label: str, options: ReadOptions) -> str:
    """Return a line such as `precision=bf16: 58.1 dB against float32 of PyTorch (…)`.

    Raises:
        UserError: the results differ by so much that the network must not be computed in this way.
    """
    with open_image_file(job.source, options) as file:
        levels = Levels(reference, file.header, file.header, str(job.source))
        h, w = levels.lr_size
        window = Window(max(0, h - SIDE) // 2, max(0, w - SIDE) // 2, min(h, SIDE), min(w, SIDE))
        lr = levels.prepare(file.read(0, window).pixels)[:1]
    expected, found = (upscale(one.net, lr, one.color).clamp(0, 1) for one in (reference, model))
    error = (expected - found).square().mean().item()
    psnr = math.inf if error == 0 else -10 * math.log10(error) if math.isfinite(error) else -math.inf
    size = f"{lr.shape[-1]}×{lr.shape[-2]} pixels of {job.source.name}"
    if psnr < MIN_PSNR:
        raise UserError(
            f"{label}: expected the results of float32 in PyTorch (found {psnr:.1f} dB on {size}); leave it out, this "
            "network needs full precision"
        )
    difference = "no difference from" if math.isinf(psnr) else f"{psnr:.1f} dB against"
    return f"{label}: {difference} float32 of PyTorch, measured on {size}"
