"""One page of examples of a random degradation at the start of a run, to check its options before hours of training."""

import sr.runtime.torchvision_shim  # noqa: F401  before Lightning and torchmetrics

import torch
from PIL import Image
from pytorch_lightning import Callback, Trainer
from torch import Tensor

from sr.data.module import SRDataModule
from sr.image.color import rgb_to_gray
from sr.image.levels import round_to_levels, to_unit
from sr.image.panel import draw_tiles
from sr.image.write import to_pil
from sr.metric.panel import MIN_TILE_SIDE
from sr.model.module import SRModule
from sr.track.tracker import Tracker

IMAGE_COUNT, SEED_COUNT = 3, 5
MAX_CROP_SIDE = 192  # HR pixels


class DegradationSheet(Callback):
    """Logs the centers of the first validation images next to their LR images for the seeds 0, 1, 2 …

    Images and seeds are the same in every run, so that the sheets of two runs can be compared. A degradation without random
    parameters gets no sheet.
    """

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker

    def on_fit_start(self, trainer: Trainer, module: SRModule) -> None:
        data = trainer.datamodule
        if data.has_panels and not getattr(data.degrade, "fixed", True) and data.eval_sets.get("val"):
            self.tracker.log_image("degradation", draw_degradations(data), trainer.global_step)


def draw_degradations(data: SRDataModule) -> Image.Image:
    """Draw a row for each image: HR, then its LR images, upscaled by whole pixels."""
    image_set, scale = data.eval_sets["val"][0], data.scale
    images = [image_set[[k]].hr for k in range(min(IMAGE_COUNT, len(image_set)))]
    side = min(MAX_CROP_SIDE, *(n for hr in images for n in hr.shape[-2:])) // scale * scale
    zoom = -(-MIN_TILE_SIDE // side)
    tiles: dict[str, Image.Image] = {}
    for name, image in zip(image_set.names, images, strict=False):
        hr = _crop_center(rgb_to_gray(image) if data.color == "gray" else image, side, scale)  # [1, C, side, side]
        lr = data.degrade(hr.expand(SEED_COUNT, -1, -1, -1), torch.arange(SEED_COUNT))
        tiles[name] = _zoom_in(hr[0], zoom)
        tiles |= {f"{name}, LR {seed}": _zoom_in(image, zoom * scale) for seed, image in enumerate(lr)}
    return draw_tiles(tiles, columns=1 + SEED_COUNT)


def _crop_center(hr: Tensor, side: int, scale: int) -> Tensor:
    """Return the square of `side` pixels in the center, on LR's pixel grid."""
    top, left = ((n - side) // 2 // scale * scale for n in hr.shape[-2:])
    return hr[..., top : top + side, left : left + side]


def _zoom_in(image: Tensor, zoom: int) -> Image.Image:
    """Return levels `[C, H, W]` as an 8-bit image, with each pixel repeated to `zoom`×`zoom`, as RGB."""
    image = round_to_levels(to_unit(image))
    return to_pil(image.repeat_interleave(zoom, dim=-2).repeat_interleave(zoom, dim=-1)).convert("RGB")
