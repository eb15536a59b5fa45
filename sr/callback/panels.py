"""Sample pictures: LR, bicubic, SR and HR in one panel, with the PSNR of what is seen written under each.

Two rows, bicubic | SR over LR | HR: what is to be compared lies side by side, and fits a grid of 260-pixel tiles 1:1.
"""

import sr.runtime.torchvision_shim  # noqa: F401  before Lightning and torchmetrics

from functools import partial

import torch
import torch.nn.functional as F
from PIL import Image
from pytorch_lightning import Callback, Trainer
from torch import Tensor

from sr.image.panel import draw_tiles, repeat_pixels
from sr.image.resize import upscale_bicubic
from sr.metric.protocol import Protocol
from sr.metric.psnr import psnr
from sr.metric.ssim import WINDOW_SIZE
from sr.model.evaluation import EvaluationOutput
from sr.model.module import SRModule
from sr.track.tracker import Tracker

CROP = 64  # HR pixels, at most
TILE = 128  # screen pixels that a tile should have, at least


class PanelLogger(Callback):
    """The first `track.panels` pictures of each set at every validation and test, always the same crop of each."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        module: SRModule,
        shown: EvaluationOutput,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._show("val", trainer, module, shown, batch_idx, dataloader_idx)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        module: SRModule,
        shown: EvaluationOutput,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._show("test", trainer, module, shown, batch_idx, dataloader_idx)

    def _show(
        self, part: str, trainer: Trainer, module: SRModule, shown: EvaluationOutput, batch_idx: int, set_index: int
    ) -> None:
        data = trainer.datamodule
        chosen = data.eval_sets[part][set_index]
        first = batch_idx * getattr(chosen, "batch", 1)
        for k in range(min(len(shown.hr), max(0, self.tracker.panels - first))):
            one = EvaluationOutput(*(image[k : k + 1] for image in shown))
            key = f"panels/{part}/{data.set_name(part, set_index)}/{chosen.names[first + k]}"
            self.tracker.log_image(key, partial(draw_panel, one, module.metric), trainer.global_step)


def draw_panel(shown: EvaluationOutput, protocol: Protocol, crop: int = CROP, strip: bool = False) -> Image.Image:
    """One picture, `[1, C, H, W]` each, as a panel. Its crop is where bicubic errs most: the same for every net.

    `strip` puts LR | bicubic | SR | HR into one row.
    """
    lr, sr, hr = (image.detach().cpu().to(torch.promote_types(image.dtype, torch.float32)) for image in shown)
    s = hr.shape[-1] // lr.shape[-1]
    guess = upscale_bicubic(lr, s)
    side = min(crop, *hr.shape[-2:]) // s * s
    top, left = _hardest(guess, hr, side, s)
    cut = [image[..., top : top + side, left : left + side] for image in (guess, sr, hr)]
    small = lr[..., top // s : (top + side) // s, left // s : (left + side) // s]
    zoom = max(1, -(-TILE // side))  # whole pixels only
    enlarged, result, original = (repeat_pixels(image, zoom) for image in cut)
    reduced = {f"LR {side // s} x {side // s}": repeat_pixels(small, zoom * s)}
    results = {
        f"bicubic {_psnr(protocol, cut[0], cut[2])}": enlarged,
        f"SR {_psnr(protocol, cut[1], cut[2])}": result,
    }
    tiles = {**reduced, **results} if strip else {**results, **reduced}
    return draw_tiles({**tiles, "HR": original}, columns=4 if strip else 2)


def _psnr(protocol: Protocol, sr: Tensor, hr: Tensor) -> str:
    if min(sr.shape[-2:]) < WINDOW_SIZE + 2 * protocol.scale:
        return ""
    seen = protocol.prepare(sr, hr)
    return f"{psnr(seen.x, seen.y).item():.2f} dB"


def _hardest(guess: Tensor, hr: Tensor, side: int, scale: int) -> tuple[int, int]:
    """Top and left of the `side`×`side` window with the largest error of bicubic, on LR's pixel grid."""
    stride = max(scale, side // 4 // scale * scale)
    error = F.avg_pool2d((guess - hr).abs().mean(dim=1, keepdim=True), side, stride)[0, 0]
    row, column = divmod(int(error.argmax()), error.shape[1])
    return row * stride, column * stride
