"""`model/loss=[gradient]`: the steepness of edges, by the gradient difference loss of Mathieu, Couprie and LeCun,
"Deep multi-scale video prediction beyond mean square error", 2016, https://arxiv.org/abs/1511.05440, with power 1.

Differs from the paper: differences have a sign, so that an edge that falls instead of rising is an error.
"""

from torch import Tensor, nn

from sr.loss.full_precision import to_full_precision


class Gradient(nn.Module):
    """The mean absolute error of the differences between neighboring pixels, vertical plus horizontal."""

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        sr, hr = to_full_precision(sr, hr)
        error = sr - hr
        return error.diff(dim=-2).abs().mean() + error.diff(dim=-1).abs().mean()
