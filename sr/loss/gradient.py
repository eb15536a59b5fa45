"""`model/loss=[gradient]`: are edges as steep as they should be? The gradient difference loss of Mathieu, Couprie and
LeCun, "Deep multi-scale video prediction beyond mean square error", 2016, https://arxiv.org/abs/1511.05440, with power 1.

Unlike the paper, differences keep their sign: an edge that falls instead of rising is wrong.
"""

from torch import Tensor, nn

from sr.loss.full_precision import full


class Gradient(nn.Module):
    """Mean absolute difference between the differences of neighbours in `sr` and in `hr`, down plus across."""

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        sr, hr = full(sr, hr)
        off = sr - hr
        return off.diff(dim=-2).abs().mean() + off.diff(dim=-1).abs().mean()
