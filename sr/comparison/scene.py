"""Scenes of the image viewer: crops of one test image from several results, as lossless data: addresses for the page."""

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from sr.runtime.cores import create_thread_pool

LR, BICUBIC, HR = "lr", "bicubic", "hr"  # keys of what is no result of a net
WEBP = {"lossless": True, "method": 2, "quality": 0}  # more effort saves 2 % and takes twice as long
SPOT_SIDE = 48  # pixels of the box with the largest disagreement in a crop, where the magnifier begins
SHRINK = 0.98  # a crop that needed too many bytes becomes so much smaller than its bytes ask for
MIN_SIDE = 64  # pixels: no crop is smaller, whatever it costs


class Box(NamedTuple):
    """A part of an image in HR pixels."""

    left: int
    top: int
    width: int
    height: int

    def scale_down(self, scale: int) -> "Box":
        """Return the same part in LR pixels."""
        return Box(*(value // scale for value in self))

    def cut(self, image: np.ndarray) -> np.ndarray:
        """Return this part of an image `[H, W, C]`."""
        return image[self.top : self.top + self.height, self.left : self.left + self.width]


@dataclass(frozen=True)
class ComparedImage:
    """One test image and what was made of it: uint8 `[H, W, 3]`, LR `[h, w, 3]`."""

    name: str
    lr: np.ndarray
    hr: np.ndarray
    results: dict[str, np.ndarray]  # bicubic and the nets', by key

    @property
    def scale(self) -> int:
        """The number of HR pixels to the side of an LR pixel."""
        return self.hr.shape[0] // self.lr.shape[0]

    def list_images(self) -> dict[str, np.ndarray]:
        """Return all images by key."""
        return {LR: self.lr, **self.results, HR: self.hr}


def build_scene(image: ComparedImage, max_bytes: int | None) -> dict[str, Any]:
    """Return what the viewer needs of an image: the whole image, or a crop where the results differ most.

    Their data: addresses have at most `max_bytes` characters, as far as no side is below MIN_SIDE; None: no limit.
    """
    height, width = image.hr.shape[:2]
    disagreement = measure_disagreement(image.results)
    box = Box(0, 0, width, height)
    if max_bytes is not None:
        box = find_largest(disagreement, *_estimate_size(image, max_bytes), image.scale)
    images = _encode_all(image, box)
    while max_bytes is not None and _count_bytes(images) > max_bytes and min(box.width, box.height) > MIN_SIDE:
        factor = SHRINK * (max_bytes / _count_bytes(images)) ** 0.5
        sides = (max(MIN_SIDE, int(side * factor)) for side in (box.width, box.height))
        box = find_largest(disagreement, *sides, image.scale)
        images = _encode_all(image, box)
    spot = find_largest(box.cut(disagreement), SPOT_SIDE, SPOT_SIDE, 1)
    return {
        "name": image.name,
        "size": {"width": width, "height": height},
        "crop": box._asdict(),
        "spot": {"x": spot.left + spot.width // 2, "y": spot.top + spot.height // 2},
        "images": images,
    }


def measure_disagreement(results: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return by how many levels the results differ at each pixel `[H, W]`: the largest less the smallest gray value.

    Bicubic counts only if there are fewer than two others.
    """
    others = {key: image for key, image in results.items() if key != BICUBIC}
    images = others if len(others) > 1 else results
    gray = np.stack([image.mean(axis=2) for image in images.values()])
    return gray.max(axis=0) - gray.min(axis=0)


def find_largest(values: np.ndarray, width: int, height: int, step: int) -> Box:
    """Return the box of this size, at most the whole, with the largest sum of values `[H, W]`; all sides in `step`s."""
    sides = [min(side, whole) // step * step for side, whole in zip((height, width), values.shape, strict=True)]
    height, width = (max(step, side) for side in sides)
    sums = np.pad(values, ((1, 0), (1, 0))).cumsum(axis=0, dtype=np.float64).cumsum(axis=1)
    boxes = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    row, column = np.unravel_index(boxes[::step, ::step].argmax(), boxes[::step, ::step].shape)
    return Box(int(column) * step, int(row) * step, width, height)


def encode_image(pixels: np.ndarray) -> str:
    """Return 8-bit pixels `[H, W, 3]` as the data: address of a lossless WebP."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", **WEBP)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _estimate_size(image: ComparedImage, max_bytes: int) -> tuple[int, int]:
    """Return width and height of a crop that needs about `max_bytes`, by what the whole HR needs."""
    height, width = image.hr.shape[:2]
    count = len(image.results) + 1 + 1 / image.scale**2
    share = max_bytes / (len(encode_image(image.hr)) * count)
    if share >= 1:
        return width, height
    area = share * width * height
    side = area**0.5  # a square, or as wide as the image
    width, height = min(width, max(side, area / height)), min(height, max(side, area / width))
    return max(MIN_SIDE, int(width)), max(MIN_SIDE, int(height))


def _encode_all(image: ComparedImage, box: Box) -> dict[str, str]:
    parts = {key: (box.scale_down(image.scale) if key == LR else box).cut(x) for key, x in image.list_images().items()}
    with create_thread_pool() as pool:  # Pillow encodes without the interpreter's lock
        return dict(zip(parts, pool.map(encode_image, parts.values()), strict=True))


def _count_bytes(images: Mapping[str, str]) -> int:
    return sum(map(len, images.values()))
