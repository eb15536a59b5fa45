"""What a random degradation makes of a few pictures: one sheet at the start of a run, for one look before hours of it."""

import sr.runtime.torchvision_shim  # noqa: F401  before Lightning and torchmetrics

import torch
from PIL import Image
from pytorch_lightning import Callback, Trainer
from torch import Tensor

from sr.callback.panels import TILE
from sr.data.module import SRDataModule
from sr.image.color import rgb_to_gray
from sr.image.panel import draw_tiles
from sr.image.write import to_pil
from sr.model.module import SRModule
from sr.track.tracker import Tracker

PICTURES, DRAWS = 3, 5
CROP = 192  # HR pixels, at most


class DegradationSheet(Callback):
    """The middle of the first validation pictures, beside LR as it is drawn for the seeds 0, 1, 2 …: the same pictures
    and seeds in every run, so that the sheets of two runs can be compared. None where nothing is left to chance."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker

    def on_fit_start(self, trainer: Trainer, module: SRModule) -> None:
        data = trainer.datamodule
        if not getattr(data.degrade, "fixed", True) and data.eval_sets.get("val"):
            self.tracker.log_image("degradation", draw_degradations(data), trainer.global_step)


def draw_degradations(data: SRDataModule) -> Image.Image:
    """A row for each picture: HR, then its LR, enlarged by whole pixels."""
    chosen, s = data.eval_sets["val"][0], data.scale
    pictures = [chosen[[k]].hr for k in range(min(PICTURES, len(chosen)))]
    side = min(CROP, *(n for hr in pictures for n in hr.shape[-2:])) // s * s
    tiles: dict[str, Image.Image] = {}
    for k, whole in enumerate(pictures):
        hr = _middle(rgb_to_gray(whole) if data.color == "gray" else whole, side, s)
        lr = data.degrade(hr.expand(DRAWS, -1, -1, -1), torch.arange(DRAWS))
        zoom = -(-TILE // side)
        tiles[chosen.names[k]] = _enlarged(hr[0], zoom)
        tiles |= {f"{chosen.names[k]}, LR {seed}": _enlarged(image, zoom * s) for seed, image in enumerate(lr)}
    return draw_tiles(tiles, columns=1 + DRAWS)


def _middle(hr: Tensor, side: int, scale: int) -> Tensor:
    """The square of `side` pixels in the middle, on LR's grid."""
    top, left = ((n - side) // 2 // scale * scale for n in hr.shape[-2:])
    return hr[..., top : top + side, left : left + side]


def _enlarged(pixels: Tensor, zoom: int) -> Image.Image:
    return to_pil(pixels.repeat_interleave(zoom, dim=-2).repeat_interleave(zoom, dim=-1)).convert("RGB")
