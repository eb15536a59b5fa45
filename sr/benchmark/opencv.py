"""A chain of degradations as most training code runs it: image by image in worker processes, with OpenCV and NumPy.

The reference of `python -m sr.bench parts=[degrade]`. It does not import PyTorch, since each worker process is spawned.
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
BGR_GRAY_WEIGHTS = np.array([0.1140, 0.5870, 0.2989], np.float32)
_images: list[NDArray[np.uint8]] = []  # of a worker process


@contextmanager
def start_workers(images: Sequence[NDArray[np.uint8]], count: int) -> Iterator[Pool]:
    """Start `count` processes, which hold the images, BGR `[H, W, 3]`, as if they had read them already."""
    with get_context("spawn").Pool(count, _initialize_worker, (list(images),)) as pool:
        yield pool


def _initialize_worker(images: list[NDArray[np.uint8]]) -> None:
    cv2.setNumThreads(0)
    _images[:] = images


def degrade_image(job: tuple[int, list[tuple[str, Any]]]) -> NDArray[np.uint8]:
    """Apply the steps `job[1]`, `(name of a function below, its arguments)` each, to the image of index `job[0]`."""
    index, steps = job
    image = _images[index].astype(np.float32) / 255
    for name, arguments in steps:
        image = STEPS[name](image, *arguments)
    return np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8)


def blur(image: NDArray, kernel: NDArray) -> NDArray:
    return cv2.filter2D(image, -1, kernel)


def resize(image: NDArray, size: tuple[int, int], kernel: str) -> NDArray:
    """Resize to `size` (h, w)."""
    return cv2.resize(image, size[::-1], interpolation=KERNELS[kernel])


def gaussian(image: NDArray, strength: float, gray: bool, seed: int) -> NDArray:
    shape = (*image.shape[:2], 1) if gray else image.shape
    noise = np.random.default_rng(seed).standard_normal(shape, np.float32)
    return np.clip(image + np.float32(strength) * noise, 0, 1)


def poisson(image: NDArray, strength: float, gray: bool, seed: int) -> NDArray:
    source = (image @ BGR_GRAY_WEIGHTS)[:, :, None] if gray else image
    levels = np.clip(source * 255 + 0.5, 0, 255).astype(np.uint8)
    white = 2 ** np.ceil(np.log2(np.count_nonzero(np.bincount(levels.ravel(), minlength=256))))
    source = levels.astype(np.float32) / 255
    counts = np.random.default_rng(seed).poisson(source * np.float32(white)).astype(np.float32)
    return np.clip(image + np.float32(strength) * (counts / np.float32(white) - source), 0, 1)


def jpeg(image: NDArray, quality: int) -> NDArray:
    levels = np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8)
    _, encoded = cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR).astype(np.float32) / 255


STEPS = {"blur": blur, "resize": resize, "gaussian": gaussian, "poisson": poisson, "jpeg": jpeg}
