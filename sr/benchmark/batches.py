"""The batches of bare training loops: one of noise, again and again, or patches of images in memory."""

from collections.abc import Iterable, Iterator
from itertools import repeat
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from sr.config.build import build_data
from sr.data.module import SRDataModule
from sr.data.patches import Patches
from sr.image.color import rgb_to_luma
from sr.runtime.error import UserError


class TrainingBatch(NamedTuple):
    """LR `[B, C, p, p]` and HR `[B, C, s·p, s·p]`."""

    lr: Tensor
    hr: Tensor


def repeat_noise(config: dict[str, Any], layout: torch.memory_format = torch.channels_last) -> Iterator[TrainingBatch]:
    """Yield the same batch of noise, float32 in 0…1, again and again: what is measured is the step alone."""
    torch.manual_seed(0)
    patch = config["data"]["patch"]
    hr = torch.rand(config["data"]["batch"], 3, patch, patch)
    hr = rgb_to_luma(hr) if config["channels"] == 1 else hr
    return repeat(
        TrainingBatch(*(images.to(memory_format=layout) for images in (F.avg_pool2d(hr, config["scale"]), hr)))
    )


def load_patches(config: dict[str, Any]) -> SRDataModule:
    """Return the configured data, ready for `draw_patches`. It must train on patches of images."""
    data = build_data(config)
    data.prepare_data()
    data.setup("fit")
    if not isinstance(data.train_set, Patches):
        raise UserError("sr.bench: expected data of image files; use data=sample or data=folder")
    return data


def draw_patches(data: SRDataModule, config: dict[str, Any]) -> Iterator[TrainingBatch]:
    """Yield random, flipped uint8 patches, cut as in a loop of one's own: images in memory, LR made beforehand."""
    images, s = data.train_set.images, config["scale"]
    hr = [images[k].hr for k in range(len(images))]
    lr = [data.degrade(image) for image in hr]
    p = config["data"]["patch"] // s
    while True:
        lr_patches, hr_patches = [], []
        for k in torch.randint(len(hr), (config["data"]["batch"],)).tolist():
            top, left = (int(torch.randint(n - p + 1, ())) for n in lr[k].shape[1:])
            flip = torch.randint(8, ()).item()
            lr_patches.append(_flip(lr[k][:, top : top + p, left : left + p], flip))
            hr_patches.append(_flip(hr[k][:, s * top : s * (top + p), s * left : s * (left + p)], flip))
        yield TrainingBatch(torch.stack(lr_patches), torch.stack(hr_patches))


def convert_to_float(batches: Iterable[TrainingBatch], channels: int) -> Iterator[TrainingBatch]:
    """Yield uint8 batches as float32 in 0…1, and as luma if the net has one channel."""
    for batch in batches:
        units = [images.float().div(255) for images in batch]
        yield TrainingBatch(*(rgb_to_luma(x) if channels == 1 and x.shape[1] == 3 else x for x in units))


def _flip(image: Tensor, flip: int) -> Tensor:
    """Apply one of the eight flips and rotations to `[C, H, W]`."""
    axes = [axis for bit, axis in ((1, -1), (2, -2)) if flip & bit]
    image = image.flip(axes) if axes else image
    return image.transpose(-1, -2) if flip & 4 else image
