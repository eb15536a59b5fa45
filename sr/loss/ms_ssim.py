"""`model/loss=[ms_ssim]`: multi-scale structural similarity as a loss (Wang, Simoncelli and Bovik, "Multiscale structural
similarity for image quality assessment", 2003, https://doi.org/10.1109/ACSSC.2003.1292216, eq. 7; as a loss: Zhao et al.,
"Loss functions for image restoration with neural networks", 2017, https://arxiv.org/abs/1511.08861, eq. 8).

It is that of `sr.metric.ms_ssim`, for values in 0…1. Five scales need 176 pixels, and training patches are smaller: only
the scales are used on which the window fits, and their weights are rescaled to the sum of all five (1.0001). A patch of 64
has three scales, one of 96 has four; below 22 pixels there is one scale, and the loss equals that of SSIM.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from sr.loss.full_precision import to_full_precision
from sr.loss.ssim import WINDOW_SIZE, check_size, compute_ssim_terms

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales, full resolution first
MIN_TERM = 1e-4  # smaller terms have no gradient: that of a power is unbounded at 0, and undefined below


class MSSSIMLoss(nn.Module):
    """1 − MS-SSIM, mean over images: 0 (equal) … 1. H and W must be 11 or more."""

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        check_size(hr)
        x, y = to_full_precision(sr, hr)
        weights = compute_scale_weights(min(hr.shape[-2:]))
        result = x.new_ones(x.shape[0])
        for k, weight in enumerate(weights):
            if k > 0:
                x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
            index, contrast = compute_ssim_terms(x, y)
            result = result * (contrast if k < len(weights) - 1 else index).clamp(min=MIN_TERM) ** weight  # eq. 7
        return 1 - result.mean()


def compute_scale_weights(side: int) -> list[float]:
    """Return the weights of the scales that fit an image with this shorter side; their sum is that of all five."""
    fitting = [weight for k, weight in enumerate(WEIGHTS) if side >> k >= WINDOW_SIZE]
    return [weight * sum(WEIGHTS) / sum(fitting) for weight in fitting]
