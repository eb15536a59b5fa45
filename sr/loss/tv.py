"""`model/loss=[tv]`: total variation (Rudin, Osher and Fatemi, "Nonlinear total variation based noise removal algorithms",
1992, https://doi.org/10.1016/0167-2789(92)90242-F; here the anisotropic one, |∂x| + |∂y|).

It depends only on `sr`, which it makes flat except for few edges: unlike all other losses it ignores `hr` and is smallest
not for equal images but for a flat one. It removes noise and ringing, and detail as well if its weight is too large.
"""

from torch import Tensor, nn

from sr.loss.full_precision import to_full_precision


class TV(nn.Module):
    """The mean absolute difference between neighboring pixels of `sr`, vertical plus horizontal."""

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        sr, _ = to_full_precision(sr, hr)
        return sr.diff(dim=-2).abs().mean() + sr.diff(dim=-1).abs().mean()
