"""A chain of degradations as most training code runs it: image by image in loader processes, with OpenCV and NumPy.

The rival of `python -m sr.bench parts=[degrade]`. It imports no PyTorch, for each of its processes starts anew.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.pool import Pool
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

KERNELS = {"area": cv2.INTER_AREA, "bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}
GRAY = np.array([0.1140, 0.5870, 0.2989], np.float32)
_images: list[NDArray[np.uint8]] = []  # of a worker


@contextmanager
def workers(images: Sequence[NDArray[np.uint8]], count: int) -> Iterator[Pool]:
    """So many processes, which hold the images, BGR `[H, W, 3]`, already, as if they had read them."""
    with get_context("spawn").Pool(count, _begin, (list(images),)) as pool:
        yield pool


def _begin(images: list[NDArray[np.uint8]]) -> None:
    cv2.setNumThreads(0)
    _images[:] = images


def degraded(job: tuple[int, list[tuple[str, Any]]]) -> NDArray[np.uint8]:
    """Image `job[0]` through the steps `job[1]`, `(name of a function below, its arguments)`."""
    index, steps = job
    image = _images[index].astype(np.float32) / 255
    for name, arguments in steps:
        image = STEPS[name](image, *arguments)
    return np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8)


def blur(image: NDArray, kernel: NDArray) -> NDArray:
    return cv2.filter2D(image, -1, kernel)


def resize(image: NDArray, size: tuple[int, int], kernel: str) -> NDArray:
    """To `size` (h, w)."""
    return cv2.resize(image, size[::-1], interpolation=KERNELS[kernel])


def gaussian(image: NDArray, strength: float, gray: bool, seed: int) -> NDArray:
    shape = (*image.shape[:2], 1) if gray else image.shape
    noise = np.random.default_rng(seed).standard_normal(shape, np.float32)
    return np.clip(image + np.float32(strength) * noise, 0, 1)


def poisson(image: NDArray, strength: float, gray: bool, seed: int) -> NDArray:
    light = (image @ GRAY)[:, :, None] if gray else image
    levels = np.clip(light * 255 + 0.5, 0, 255).astype(np.uint8)
    white = 2 ** np.ceil(np.log2(np.count_nonzero(np.bincount(levels.ravel(), minlength=256))))
    light = levels.astype(np.float32) / 255
    counts = np.random.default_rng(seed).poisson(light * np.float32(white)).astype(np.float32)
    return np.clip(image + np.float32(strength) * (counts / np.float32(white) - light), 0, 1)


def jpeg(image: NDArray, quality: int) -> NDArray:
    levels = np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8)
    _, coded = cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(coded, cv2.IMREAD_COLOR).astype(np.float32) / 255


STEPS = {"blur": blur, "resize": resize, "gaussian": gaussian, "poisson": poisson, "jpeg": jpeg}
