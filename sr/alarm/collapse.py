"""`model/alarm=[collapse]`: the results do not depend on the input any more: they are flat, or all alike."""

import torch
import torch.nn.functional as F
from torch import Tensor

from sr.alarm.rule import Rule

THUMB = 8  # pixels a side: enough to tell pictures apart


class Collapse(Rule):
    """The results' standard deviation within a picture is below `contrast` of HR's; or their differences between pictures
    are below `alike` of those between the inputs (asked where there are two pictures or more)."""

    advice = (
        "lower model.weight and model.optimizer.lr, lengthen model.warmup_steps, or give a loss on pixels more weight"
    )

    def __init__(self, contrast: float = 0.2, alike: float = 0.2) -> None:
        self.contrast, self.alike = contrast, alike
        self._spreads: list[Tensor] = []  # [2]: variance within pictures of results and HR, summed over a batch
        self._thumbs: list[Tensor] = []  # [B, 2, C·8·8]: results and inputs

    def observe_images(self, lr: Tensor, sr: Tensor, hr: Tensor) -> None:
        sr = sr.clamp(0, 1)
        self._spreads.append(torch.stack([i.float().var(dim=(-2, -1)).sum() for i in (sr, hr)]))
        self._thumbs.append(torch.stack([F.adaptive_avg_pool2d(i.float(), THUMB).flatten(1) for i in (sr, lr)], dim=1))

    def verdict(self) -> str | None:
        """`nan`, of which nothing is said, where HR is flat or inputs are equal."""
        if not self._thumbs:
            return None
        ours, theirs = torch.stack(self._spreads).sum(dim=0).sqrt().tolist()
        thumbs = torch.cat(self._thumbs)
        between = thumbs.var(dim=0).sum(dim=-1).sqrt().tolist() if len(thumbs) > 1 else (1.0, 1.0)
        self._spreads.clear()
        self._thumbs.clear()
        if ours < self.contrast * theirs:
            return f"the results have {100 * ours / theirs:.0f} % of HR's contrast"
        if between[0] < self.alike * between[1]:
            return f"the results differ by {100 * between[0] / between[1]:.0f} % of what the inputs differ by"
        return None
