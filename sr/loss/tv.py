"""`model/loss=[tv]`: total variation (Rudin, Osher and Fatemi, "Nonlinear total variation based noise removal algorithms",
1992, https://doi.org/10.1016/0167-2789(92)90242-F; here the anisotropic one, |∂x| + |∂y|).

A wish about `sr` alone, that it be flat but for few edges: `hr` is not looked at, so unlike all other losses it is not
smallest for equal pictures but for a flat one. It takes noise and ringing away, with too much weight detail as well.
"""

from torch import Tensor, nn

from sr.loss.full_precision import full


class TV(nn.Module):
    """Mean absolute difference between neighbours in `sr`, down plus across."""

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        sr, _ = full(sr, hr)
        return sr.diff(dim=-2).abs().mean() + sr.diff(dim=-1).abs().mean()
