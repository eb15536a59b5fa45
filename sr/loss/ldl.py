"""`model/loss=[ldl]`: locally discriminative learning: errors weigh more where they vary from pixel to pixel, because
that is more likely an artifact than a detail (Liang, Zeng and Zhang, "Details or Artifacts: A Locally Discriminative
Learning Approach to Realistic Image Super-Resolution", 2022, https://arxiv.org/abs/2203.09195).

Differs from the paper: errors also count where those of the averaged model are larger (the paper's refinement sets the
map to 0 there). Differs from the authors' code: the map has no gradient; that of its root is unbounded for equal images.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sr.loss.full_precision import to_full_precision
from sr.runtime.error import UserError

WINDOW_SIZE, ROOT = 7, 5  # the paper's n and a


class LDL(nn.Module):
    """The mean of map · |sr − hr|; a constant error costs nothing, so use it in a sum with a pixel loss."""

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        h, w = hr.shape[-2:]
        if min(h, w) < WINDOW_SIZE:
            raise UserError(
                f"model/loss=[ldl]: needs patches of at least {WINDOW_SIZE}×{WINDOW_SIZE} HR pixels, got {h}×{w}: "
                f"increase data.patch"
            )
        error = torch.sub(*to_full_precision(sr, hr)).abs()
        return (compute_artifact_map(error.detach()) * error).mean()


def compute_artifact_map(error: Tensor) -> Tensor:
    """Return how likely each pixel is an artifact, from absolute errors: `[B, C, H, W]` -> `[B, 1, H, W]`, 0 or more.

    It is the variance of the error (summed over channels) in a window around each pixel, mirrored at the border, times
    the fifth root of the variance in the whole image.
    """
    residual = error.sum(dim=1, keepdim=True)
    global_factor = residual.var(dim=(1, 2, 3), keepdim=True) ** (1 / ROOT)
    padded = F.pad(residual - residual.mean(dim=(1, 2, 3), keepdim=True), (WINDOW_SIZE // 2,) * 4, mode="reflect")
    mean, square = (F.avg_pool2d(x, WINDOW_SIZE, stride=1) for x in (padded, padded.square()))
    unbiased = WINDOW_SIZE**2 / (WINDOW_SIZE**2 - 1)
    return global_factor * unbiased * (square - mean.square()).clamp(min=0)
