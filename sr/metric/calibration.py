"""Calibration: how much does a map of the spread say about where the true error is?

The numbers are of one image each, and their means over images are reported: images of large errors do not outweigh others.
They follow the sparsification of Ilg et al., "Uncertainty Estimates and Multi-Hypotheses Networks for Optical Flow", 2018,
https://arxiv.org/abs/1802.07095, as the share of the error that a selection of pixels has.
"""

from typing import NamedTuple

import torch
from torch import Tensor

TOP = 0.1  # share of the pixels that is selected
GROUPS = 10  # of pixels, from the smallest spread to the largest
STEPS = 20  # of the curve of selected pixels


class Calibration(NamedTuple):
    """The relation of the spread and the error of the pixels of one image, both in levels of 8 bits."""

    spread: float  # root mean square
    error: float  # root mean square
    rank_correlation: float  # Spearman's, -1…1; nan if all spreads, or all errors, are equal
    top_share: float  # share of the squared error that the `TOP` pixels of the largest spread have; `TOP`: by accident
    best_share: float  # the same of the pixels of the largest error: no map can have more
    groups: tuple[tuple[float, float], ...]  # root mean square of spread and error of each tenth of the pixels
    curve: tuple[float, ...]  # share of the error in the k/STEPS pixels of the largest spread, k = 0…STEPS


def compute_calibration(spread: Tensor, error: Tensor) -> Calibration:
    """Compare two maps of one image: `[H, W]` each, the error absolute."""
    spread, squared = spread.flatten().double(), error.flatten().double().square()
    order = spread.argsort(stable=True)
    groups = zip(spread[order].square().tensor_split(GROUPS), squared[order].tensor_split(GROUPS), strict=True)
    shares = [k / STEPS for k in range(STEPS + 1)]
    return Calibration(
        spread=spread.square().mean().sqrt().item(),
        error=squared.mean().sqrt().item(),
        rank_correlation=correlate_ranks(spread, squared),
        top_share=_compute_shares(spread, squared, [TOP])[0],
        best_share=_compute_shares(squared, squared, [TOP])[0],
        groups=tuple((x.mean().sqrt().item(), y.mean().sqrt().item()) for x, y in groups if len(x)),
        curve=tuple(_compute_shares(spread, squared, shares)),
    )


def correlate_ranks(x: Tensor, y: Tensor) -> float:
    """Return Spearman's rank correlation of two `[N]`; nan if one of them is constant."""
    ranks = [_rank(values) for values in (x, y)]
    x, y = (rank - rank.mean() for rank in ranks)
    return ((x * y).mean() / (x.square().mean() * y.square().mean()).sqrt()).item()


def _rank(values: Tensor) -> Tensor:
    """Return the ranks, 1…N; equal values have the mean of theirs."""
    _, positions, counts = values.unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    return (last - (counts - 1) / 2)[positions]


def _compute_shares(key: Tensor, squared: Tensor, shares: list[float]) -> list[float]:
    """Return the share of the squared error in these shares of the pixels, those of the largest key first.

    Of pixels of an equal key each has the mean error of all of them, so that the order of pixels does not count.
    """
    _, positions, counts = key.unique(return_inverse=True, return_counts=True)
    sums = torch.zeros(len(counts), dtype=torch.float64, device=key.device).index_add_(0, positions, squared)
    total = squared.sum()
    counts, sums = (torch.cat([x.new_zeros(1), x.flip(0).cumsum(0)]).double() for x in (counts, sums))
    wanted = torch.tensor(shares, dtype=torch.float64, device=key.device) * len(key)
    right = torch.searchsorted(counts, wanted).clamp(1, len(counts) - 1)
    part = (wanted - counts[right - 1]) / (counts[right] - counts[right - 1])
    return ((sums[right - 1] + part * (sums[right] - sums[right - 1])) / total).tolist()
