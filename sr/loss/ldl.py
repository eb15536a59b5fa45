"""`model/loss=[ldl]`: locally discriminative learning: where errors vary from pixel to pixel there is more likely an
artifact than a detail, and errors count more (Liang, Zeng and Zhang, "Details or Artifacts: A Locally Discriminative
Learning Approach to Realistic Image Super-Resolution", 2022, https://arxiv.org/abs/2203.09195).

Unlike the paper, errors also count where the averaged model's are larger (its refinement: there the map is 0); and, unlike
in the authors' code, the map gives no gradient: it says where to look, and its root has no bounded one for equal pictures.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sr.loss.full_precision import full
from sr.runtime.error import UserError

WINDOW, ROOT = 7, 5  # the paper's n and a


class LDL(nn.Module):
    """Mean of map · |sr − hr|; a constant error costs nothing, so this belongs beside a loss of pixels."""

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        h, w = hr.shape[-2:]
        if min(h, w) < WINDOW:
            raise UserError(
                f"model/loss=[ldl]: needs patches of at least {WINDOW}×{WINDOW} HR pixels, got {h}×{w}: data.patch"
            )
        error = torch.sub(*full(sr, hr)).abs()
        return (artifacts(error.detach()) * error).mean()


def artifacts(error: Tensor) -> Tensor:
    """The map of how likely each pixel is an artifact, from absolute errors `[B, C, H, W]` -> `[B, 1, H, W]`, 0 or more.

    The variance of what all channels together have of error, around each pixel (the window is mirrored at the border)
    times the fifth root of that of the whole picture.
    """
    residual = error.sum(dim=1, keepdim=True)
    whole = residual.var(dim=(1, 2, 3), keepdim=True) ** (1 / ROOT)
    around = F.pad(residual - residual.mean(dim=(1, 2, 3), keepdim=True), (WINDOW // 2,) * 4, mode="reflect")
    mean, square = (F.avg_pool2d(x, WINDOW, stride=1) for x in (around, around.square()))
    unbiased = WINDOW**2 / (WINDOW**2 - 1)
    return whole * unbiased * (square - mean.square()).clamp(min=0)
