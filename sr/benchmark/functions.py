"""Compare our imresize, degradation, PSNR and SSIM, and cache with what other libraries and training code use for them.

Both sides of each comparison are first checked to return the same result, but for scikit-image's `resize`, which reduces
images by another filter.
"""

import math
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from skimage.transform import resize
from torch import Tensor

from sr.benchmark.comparison import Comparison, measure
from sr.benchmark.degradation import compare_degradation
from sr.benchmark.numpy_imresize import matlab_imresize
from sr.benchmark.row import Row
from sr.data.cache import Cache
from sr.data.image_set import ImageSet
from sr.data.patches import PatchDraw, Patches
from sr.data.sample import NAMES
from sr.image.read import read_rgb
from sr.image.resize import imresize
from sr.image.write import to_pil
from sr.metric.psnr import psnr
from sr.metric.ssim import ssim

SKIMAGE_RESIZE = "scikit-image resize(order=3, anti_aliasing=True), image by image"
NUMPY_RESIZE = "MATLAB's imresize in NumPy, a loop over output lines, image by image"
SKIMAGE_METRICS = "scikit-image structural_similarity (same Gaussian window) and peak_signal_noise_ratio"
PILLOW_DATASET = "a Dataset that opens each PNG with Pillow for each crop, and stacks the crops"
CROPS, CROP_SIDE = 16, 96  # of a batch; HR pixels


def compare_functions(part: str, rounds: int, threads: int) -> list[Row]:
    """Measure the comparisons of a part on `threads` threads, or on one if the references use one only."""
    old_threads = torch.get_num_threads()
    torch.set_num_threads(threads if part == "degrade" else 1)
    try:
        return [measure(comparison, rounds) for comparison in COMPARISONS[part]()]
    finally:
        torch.set_num_threads(old_threads)


def compare_imresize() -> Iterator[Comparison]:
    """Reduce 16 HR crops to a quarter, and to half."""
    hr = torch.randint(0, 256, (16, 3, 192, 192), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    images = list(hr.permute(0, 2, 3, 1).contiguous().numpy())  # [H, W, 3] for scikit-image
    for divisor in (4, 2):
        side = 192 // divisor

        def resize_batch(divisor: int = divisor) -> Tensor:
            return imresize(hr, 1 / divisor)

        def resize_by_skimage(side: int = side) -> list[NDArray]:
            return [resize(image, (side, side), order=3, anti_aliasing=True, preserve_range=True) for image in images]

        def resize_by_numpy(divisor: int = divisor) -> list[NDArray]:
            return [matlab_imresize(image, 1 / divisor) for image in images]

        if not np.array_equal(resize_batch().permute(0, 2, 3, 1).numpy(), np.stack(resize_by_numpy())):
            raise AssertionError("our imresize and the NumPy loop differ")
        name = f"imresize ×1/{divisor}, 16 crops of 192×192"
        yield Comparison(name, resize_batch, resize_by_skimage, 16, "images/s", SKIMAGE_RESIZE)
        yield Comparison(name, resize_batch, resize_by_numpy, 16, "images/s", NUMPY_RESIZE)


def compare_metrics() -> Iterator[Comparison]:
    """Compute PSNR and SSIM of one 1280×720 luma image and a noisy copy of it."""
    generator = torch.Generator().manual_seed(0)
    hr = torch.randint(0, 256, (1, 1, 720, 1280), generator=generator).double()
    sr = (hr + 10 * torch.randn(hr.shape, generator=generator)).round().clamp(0, 255)
    x, y = sr[0, 0].numpy(), hr[0, 0].numpy()

    def compute() -> tuple[Tensor, Tensor]:
        return psnr(sr, hr), ssim(sr, hr)

    def compute_by_skimage() -> tuple[float, float]:
        window = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        return peak_signal_noise_ratio(y, x, data_range=255), structural_similarity(x, y, data_range=255, **window)

    if not np.allclose([value.item() for value in compute()], compute_by_skimage(), rtol=0, atol=1e-6):
        raise AssertionError("our PSNR or SSIM and scikit-image's differ")
    yield Comparison("PSNR and SSIM, one pair of 1280×720", compute, compute_by_skimage, 1, "pairs/s", SKIMAGE_METRICS)


def compare_cache() -> Iterator[Comparison]:
    """Read batches of crops of scikit-image's photographs as PNGs, and of small images of the usual size of T91's.

    Both sides work on one core, and return the same crops.
    """
    import skimage

    photos = Path(skimage.__file__).parent / "data"
    with tempfile.TemporaryDirectory() as folder:
        for max_side in (0, 256):
            files = [
                _write_png(photos / name, Path(folder) / f"{max_side or 'whole'}", max_side) for name in NAMES["train"]
            ]
            image_set = ImageSet(files, 2, memory=0, cache=Cache(Path(folder) / "cache", math.inf))
            image_set.load()
            rng = np.random.default_rng(0)
            index, place = rng.permutation(np.resize(np.arange(len(files)), CROPS)), rng.random((CROPS, 2))
            draw, patches = PatchDraw(index, place, np.zeros(CROPS, np.uint8)), Patches(image_set, CROP_SIDE)

            def read(patches: Patches = patches, draw: PatchDraw = draw) -> Tensor:
                return patches[draw].hr

            def read_by_pillow(files: list[Path] = files, draw: PatchDraw = draw) -> Tensor:
                crops = [_read_crop(files[k], *corner) for k, corner in zip(draw.index, draw.place, strict=True)]
                return torch.stack(crops)

            if not torch.equal(read(), read_by_pillow()):
                raise AssertionError("crops from the cache and from the files differ")
            source = f"images of {max_side}×{max_side}" if max_side else "photographs"
            name = f"cache, batch of {CROPS} crops of {CROP_SIDE}×{CROP_SIDE}, {source}"
            yield Comparison(name, read, read_by_pillow, CROPS, "crops/s", PILLOW_DATASET)


COMPARISONS = {
    "degrade": compare_degradation, "imresize": compare_imresize, "metric": compare_metrics, "cache": compare_cache,
}  # fmt: skip


def _write_png(photo: Path, folder: Path, max_side: int) -> Path:
    """Write the photograph as a PNG, cropped to an even size, and to at most `max_side` pixels a side unless it is 0."""
    folder.mkdir(exist_ok=True)
    pixels = read_rgb(photo)
    h, w = (min(side - side % 2, max_side or side) for side in pixels.shape[1:])
    to_pil(pixels[:, :h, :w]).save(folder / f"{photo.stem}.png")
    return folder / f"{photo.stem}.png"


def _read_crop(file: Path, y: float, x: float) -> Tensor:
    """Read a crop, uint8 `[3, CROP_SIDE, CROP_SIDE]`, at the relative position (y, x), on a whole LR pixel (×2)."""
    with Image.open(file, formats=("PNG",)) as image:
        pixels = np.array(image.convert("RGB"))
    top, left = (2 * int(u * ((n - CROP_SIDE) // 2 + 1)) for u, n in zip((y, x), pixels.shape[:2], strict=True))
    return torch.from_numpy(pixels[top : top + CROP_SIDE, left : left + CROP_SIDE].transpose(2, 0, 1).copy())
