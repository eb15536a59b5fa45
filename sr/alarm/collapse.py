"""`model/alarm=[collapse]`: the results do not depend on the input any more: they are flat, or all the same."""

import torch
import torch.nn.functional as F
from torch import Tensor

from sr.alarm.rule import Rule
from sr.runtime.option_types import NonNegativeFloat

THUMBNAIL_SIDE = 8  # pixels; enough to distinguish images


class Collapse(Rule):
    """The results' standard deviation within an image is below `contrast` of HR's; or their differences between images
    are below `diversity` of those between the inputs (checked if there are two images or more)."""

    advice = ("lower model.adversarial_weight", "lower model.optimizer.lr", "raise model.warmup_steps")

    def __init__(self, contrast: NonNegativeFloat = 0.2, diversity: NonNegativeFloat = 0.2) -> None:
        self.contrast, self.diversity = contrast, diversity
        self._variances: list[Tensor] = []  # [2]: within images, of results and HR, summed over a batch
        self._thumbnails: list[Tensor] = []  # [B, 2, C·8·8]: results and inputs

    def observe_images(self, lr: Tensor, sr: Tensor, hr: Tensor) -> None:
        sr = sr.clamp(0, 1)
        self._variances.append(torch.stack([i.float().var(dim=(-2, -1)).sum() for i in (sr, hr)]))
        thumbnails = [F.adaptive_avg_pool2d(i.float(), THUMBNAIL_SIDE).flatten(1) for i in (sr, lr)]
        self._thumbnails.append(torch.stack(thumbnails, dim=1))

    def verdict(self) -> str | None:
        if not self._thumbnails:
            return None
        sr_spread, hr_spread = torch.stack(self._variances).sum(dim=0).sqrt().tolist()
        thumbnails = torch.cat(self._thumbnails)
        # Where HR is flat or the inputs are equal, these are `nan` or 0, and no comparison below is true.
        sr_between, lr_between = (
            thumbnails.var(dim=0).sum(dim=-1).sqrt().tolist() if len(thumbnails) > 1 else (1.0, 1.0)
        )
        self._variances.clear()
        self._thumbnails.clear()
        if sr_spread < self.contrast * hr_spread:
            return f"the results have {100 * sr_spread / hr_spread:.0f} % of HR's contrast"
        if sr_between < self.diversity * lr_between:
            return f"results differ only {100 * sr_between / lr_between:.0f} % as much as inputs"
        return None
