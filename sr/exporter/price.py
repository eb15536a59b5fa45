"""Measure what a lower precision costs in dB, on crops of photographs: those of a folder, or scikit-image's."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sr.image.listing import list_images
from sr.image.read import read_rgb
from sr.image.resize import imresize
from sr.image.write import to_uint8
from sr.metric.psnr import psnr
from sr.runtime.error import UserError

SIDE = 64  # of a crop, in LR pixels
CROPS = 12  # at most; a quantization is calibrated with every second one (all features are in memory), the others are measured
PER_IMAGE = 2


class Price(NamedTuple):
    """The cost of a lower precision: PSNR of RGB on crops of photographs, in dB."""

    exact: float  # of PyTorch, in float32
    found: float  # of the file
    crops: int

    def __str__(self) -> str:
        cost = self.exact - self.found
        return f"{self.found:.2f} instead of {self.exact:.2f} dB ({-cost:+.3f}) on {self.crops} crops of photographs"


class Crop(NamedTuple):
    """An image and what it was made from, uint8: `[1, C, h, w]` and `[1, C, s·h, s·w]`."""

    lr: Tensor
    hr: Tensor


def read_crops(folder: str | None, scale: int, channels: int) -> list[Crop]:
    """Return crops of the images of a folder, or of scikit-image's photographs, scaled down bicubically."""
    if channels not in (1, 3):
        raise UserError(f"exporter.precision: expected a net for RGB, luma or gray (found {channels} bands)")
    crops = [crop for path in _list_photographs(folder) for crop in islice(_cut(path, scale, channels), PER_IMAGE)]
    if len(crops) < 2:
        raise UserError(
            f"exporter.calibration={folder}: expected images of {SIDE * scale} pixels or more on each side (found "
            f"{len(crops)} crop(s) of this size); give larger images, or leave it out"
        )
    return crops[:CROPS]


def _list_photographs(folder: str | None) -> list[Path]:
    if folder is not None:
        return list_images(Path(folder).expanduser(), "exporter.calibration")
    import skimage

    from sr.data.sample import NAMES

    return [Path(skimage.__file__).parent / "data" / name for name in (*NAMES["test"], *NAMES["train"])]


def _cut(path: Path, scale: int, channels: int) -> Iterator[Crop]:
    """Yield crops that do not overlap, from the center of the image outward."""
    image, side = read_rgb(path)[None], SIDE * scale
    if channels == 1:
        image = image.float().mean(1, keepdim=True).round().to(torch.uint8)
    h, w = image.shape[2:]
    corners = [(y, x) for y in range(0, h - side + 1, side) for x in range(0, w - side + 1, side)]
    for y, x in sorted(corners, key=lambda corner: abs(corner[0] - (h - side) / 2) + abs(corner[1] - (w - side) / 2)):
        hr = image[..., y : y + side, x : x + side]
        yield Crop(imresize(hr, 1 / scale), hr)


@torch.no_grad()
def measure_price(reference: nn.Module, exported: nn.Module, crops: list[Crop]) -> Price:
    """Return the PSNR of both nets, each of which maps float images in 0…1."""
    values = [
        [float(psnr(to_uint8(net(crop.lr.float() / 255)), crop.hr)) for crop in crops] for net in (reference, exported)
    ]
    return Price(float(np.mean(values[0])), float(np.mean(values[1])), len(crops))
