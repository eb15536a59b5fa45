"""Charbonnier loss, a smooth L1 (Lai et al., "Fast and Accurate Image Super-Resolution with Deep Laplacian Pyramid
Networks", 2018, https://arxiv.org/abs/1710.01992, eq. 7)."""

from torch import Tensor, nn

from sr.loss.full_precision import full


class Charbonnier(nn.Module):
    """Mean of sqrt(d² + eps²) over all values."""

    def __init__(self, eps: float = 1e-3) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        sr, hr = full(sr, hr)
        return ((sr - hr).square() + self.eps**2).sqrt().mean()
