"""`model/alarm=[checkerboard]`: a pattern of the net's stride lies over the results.

Layers that enlarge treat the pixels between two input pixels unequally (Odena, Dumoulin and Olah, "Deconvolution and
Checkerboard Artifacts", 2016, https://doi.org/10.23915/distill.00003); in the power spectrum that is a peak at the
multiples of 1 / stride, where photographs have nothing of the sort.
"""

import math

import torch
from torch import Tensor

from sr.alarm.rule import Rule
from sr.image.color import rgb_to_luma

BLOCKS = (48, 24)  # pixels a side: 1/2, 1/3, 1/4 and 1/8 are whole bins of both
LEAST = 8  # blocks: fewer make no spectrum


class Checkerboard(Rule):
    """The pattern of period 2 or `scale` has a root mean square above `levels`, of 255, and stands by `peak` dB more above
    its neighbours in the spectrum than HR's does. Pictures below 24×24 are not judged.
    """

    advice = (
        "enlarge by pixel shuffle, or by a transposed convolution whose kernel is a multiple of its stride "
        "(4 by 2, not 3 by 2), and train longer on model/loss alone (model.warmup_steps)"
    )

    def __init__(self, peak: float = 10.0, levels: float = 1.0) -> None:
        self.peak, self.levels = peak, levels
        self._power: dict[int, Tensor] = {}  # by block: [2, K, K], of results and HR, summed over blocks
        self._count: dict[int, int] = {}
        self._scale = 2

    def observe_images(self, lr: Tensor, sr: Tensor, hr: Tensor) -> None:
        block = next((side for side in BLOCKS if side <= min(hr.shape[-2:])), None)
        if block is None:
            return
        self._scale = hr.shape[-1] // lr.shape[-1]
        power, count = zip(*(_power(image, block) for image in (sr, hr)), strict=True)
        self._power[block] = self._power.get(block, 0) + torch.stack(power)
        self._count[block] = self._count.get(block, 0) + count[0]

    def verdict(self) -> str | None:
        found = None
        for block, power in self._power.items():
            if found is None and self._count[block] >= LEAST:
                ours, theirs = (power / self._count[block]).cpu()
                found = self._pattern(ours, theirs)
        self._power.clear()
        self._count.clear()
        return found

    def _pattern(self, ours: Tensor, theirs: Tensor) -> str | None:
        for period in sorted({2, self._scale}):
            level, height = _peak(ours, period)
            above = height - max(0.0, _peak(theirs, period)[1])
            if level >= self.levels and above >= self.peak:
                return f"a pattern of period {period} and {level:.1f} levels lies over the results, a peak of {above:.0f} dB"
        return None


def _power(image: Tensor, block: int) -> tuple[Tensor, int]:
    """Hann-windowed blocks that overlap by half: their power spectra `[block, block]` in squared levels, summed over
    blocks and images, and how many there were. A wave of root mean square r that fills a bin has r² there."""
    image = image.clamp(0, 1).float()
    levels = 255 * (rgb_to_luma(image) if image.shape[1] == 3 else image)[:, 0]
    window = torch.hann_window(block, device=image.device)
    window = window[:, None] * window
    blocks = levels.unfold(-2, block, block // 2).unfold(-2, block, block // 2)  # [B, rows, columns, K, K]
    blocks = blocks.reshape(-1, block, block)
    wave = torch.fft.fft2((blocks - blocks.mean(dim=(-2, -1), keepdim=True)) * window / window.sum())
    return wave.abs().square().sum(dim=0), len(blocks)


def _peak(power: Tensor, period: int) -> tuple[float, float]:
    """The pattern of this period: its root mean square in levels, and its height in dB above the neighbours two and three
    bins away: the window blurs a peak over one."""
    step = len(power) // period
    ring = [(y, x) for y in range(-3, 4) for x in range(-3, 4) if max(abs(y), abs(x)) > 1]
    peak = around = 0.0
    for y, x in ((y, x) for y in range(0, len(power), step) for x in range(0, len(power), step) if y or x):
        near = torch.stack([power[(y + dy) % len(power), (x + dx) % len(power)] for dy, dx in ring])
        peak += power[y, x].item()
        around += near.clamp_min(1e-12).log().mean().exp().item()
    return math.sqrt(max(0.0, peak - around)), 10 * math.log10((peak + 1e-9) / (around + 1e-9))
