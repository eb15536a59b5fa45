"""Charbonnier loss, a smooth L1 (Lai et al., "Fast and Accurate Image Super-Resolution with Deep Laplacian Pyramid
Networks", 2018, https://arxiv.org/abs/1710.01992, eq. 7)."""

from torch import Tensor, nn

from sr.loss.full_precision import to_full_precision
from sr.runtime.option_types import PositiveFloat


class Charbonnier(nn.Module):
    """The mean of sqrt(d² + eps²) over all values."""

    def __init__(self, eps: PositiveFloat = 1e-3) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        sr, hr = to_full_precision(sr, hr)
        return ((sr - hr).square() + self.eps**2).sqrt().mean()
