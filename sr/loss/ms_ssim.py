"""`model/loss=[ms_ssim]`: multi-scale structural similarity as a loss (Wang, Simoncelli and Bovik, "Multiscale structural
similarity for image quality assessment", 2003, https://doi.org/10.1109/ACSSC.2003.1292216, eq. 7; as a loss: Zhao et al.,
"Loss functions for image restoration with neural networks", 2017, https://arxiv.org/abs/1511.08861, eq. 8).

As `sr.metric.ms_ssim` measures it, for values in 0…1. Five scales need 176 pixels, and training patches are smaller: of
the five, those take part on which the window still fits, and their weights are raised to the old sum (1.0001). A patch of 64 has
three scales, one of 96 has four; below 22 pixels there is one, and the loss is that of SSIM.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from sr.loss.full_precision import full
from sr.loss.ssim import WINDOW, check_size, terms

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # fine to coarse
FLOOR = 1e-4  # a mean below has no gradient: that of a power has no bound at 0, and is no number below


class MSSSIMLoss(nn.Module):
    """1 − MS-SSIM, mean over images: 0 (equal) … 1. H and W must be 11 or more."""

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        check_size(hr)
        x, y = full(sr, hr)
        weights = scale_weights(min(hr.shape[-2:]))
        result = x.new_ones(x.shape[0])
        for k, weight in enumerate(weights):
            if k > 0:
                x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
            index, contrast = terms(x, y)
            result = result * (contrast if k < len(weights) - 1 else index).clamp(min=FLOOR) ** weight  # eq. 7
        return 1 - result.mean()


def scale_weights(side: int) -> list[float]:
    """The weights, fine to coarse, of the scales that a picture with this shorter side has; their sum stays the same."""
    fitting = [weight for k, weight in enumerate(WEIGHTS) if side >> k >= WINDOW]
    return [weight * sum(WEIGHTS) / sum(fitting) for weight in fitting]
