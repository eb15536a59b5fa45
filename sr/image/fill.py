"""Fill samples without data from the data around them, so that a network sees no edge where an image has none."""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor

STEPS = 6  # squares of a half side of 1, 2, 4 … 32 samples
BLOCK = 256  # side of what is filled at once: where nothing is missing, nothing is computed
REACH = 1 << (STEPS - 1)  # samples that a filled one depends on, to each side


def fill_invalid(image: Tensor, valid: Tensor, fallback: float) -> Tensor:
    """Return `image` `[C, h, w]` whose samples that are not `valid` `[1 or C, h, w]` are replaced, in its dtype.

    Such a sample becomes the mean of the valid ones in the smallest square around it that has any, of 3, 5, 9 … 65 samples a
    side; farther from data it becomes `fallback`. Valid samples stay as they are. The result does not depend on what is more
    than `REACH` samples away.
    """
    if valid.all():
        return image
    filled = image.clone()
    height, width = image.shape[1:]
    for top, left in itertools.product(range(0, height, BLOCK), range(0, width, BLOCK)):
        if valid[:, top : top + BLOCK, left : left + BLOCK].all():
            continue
        y, x = max(0, top - REACH), max(0, left - REACH)
        around = (slice(None), slice(y, top + BLOCK + REACH), slice(x, left + BLOCK + REACH))
        block = _fill_block(image[around], valid[around], fallback)
        filled[:, top : top + BLOCK, left : left + BLOCK] = block[:, top - y :, left - x :][:, :BLOCK, :BLOCK]
    return filled


def _fill_block(image: Tensor, valid: Tensor, fallback: float) -> Tensor:
    known = valid.expand_as(image)
    values = torch.where(known, image.double(), 0.0)
    filled = torch.where(known, values, float(fallback))
    missing, counts = ~known, valid.double()
    for step in range(STEPS if valid.any() else 0):
        found = _sum_squares(counts, step).expand_as(image)
        is_near = missing & (found > 0)
        filled = torch.where(is_near, _sum_squares(values, step) / found.clamp(min=1), filled)
        missing &= ~is_near
        if not missing.any():
            break
    return (filled if image.dtype.is_floating_point else filled.round()).to(image.dtype)


def _sum_squares(image: Tensor, step: int) -> Tensor:
    """Return the sums over squares of `2·2^step + 1` samples a side, zeros beyond the edges."""
    return _sum_spans(_sum_spans(image, step).transpose(-1, -2), step).transpose(-1, -2)


def _sum_spans(image: Tensor, step: int) -> Tensor:
    """Return the sums over `2·2^step + 1` neighbors along the last axis: only these are added, in the same order everywhere."""
    reach, length = 1 << step, image.shape[-1]
    padded = F.pad(image, (reach, reach))
    sums = padded
    for k in range(step):  # of 2^k, then 2^(k+1) samples
        sums = sums[..., : -(1 << k)] + sums[..., 1 << k :]
    return sums[..., :length] + image + sums[..., reach + 1 : reach + 1 + length]
