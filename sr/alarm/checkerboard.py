"""`model/alarm=[checkerboard]`: the results have a periodic pattern with the period of the net's stride.

Layers that upscale treat the pixels between two input pixels unequally (Odena, Dumoulin and Olah, "Deconvolution and
Checkerboard Artifacts", 2016, https://doi.org/10.23915/distill.00003); in the power spectrum that is a peak at the
multiples of 1 / stride, where photographs have none.
"""

import math

import torch
from torch import Tensor, nn

from sr.alarm.rule import Rule
from sr.image.color import rgb_to_luma
from sr.runtime.option_types import NonNegativeFloat

BLOCK_SIDES = (48, 24)  # pixels; 1/2, 1/3, 1/4 and 1/8 are whole frequency bins of both
MIN_BLOCKS = 8  # for a spectrum


class Checkerboard(Rule):
    """The pattern of period 2 or `scale` has a root mean square above `levels` (of 255), and its peak above the neighbors
    in the spectrum is more than `peak` dB higher than HR's. Images below 24×24 are not checked.
    """

    ADVICE = (
        "lower model.adversarial_weight", "raise model.warmup_steps", "train longer: trainer.max_steps",
    )  # fmt: skip
    advice = ADVICE
    ADVICE_ON_KERNEL = "use pixel shuffle: model/net=edsr"

    def __init__(self, peak: NonNegativeFloat = 10.0, levels: NonNegativeFloat = 1.0) -> None:
        self.peak, self.levels = peak, levels
        self._power: dict[int, Tensor] = {}  # by block side: [2, K, K], of results and HR, summed over blocks
        self._count: dict[int, int] = {}
        self._scale = 2

    def start(self, adversarial: object | None, net: nn.Module | None = None) -> None:
        """Look for a transposed convolution whose kernel is no multiple of its stride, as 3 by 2: it causes such patterns."""
        layers = [m for m in net.modules() if isinstance(m, nn.ConvTranspose2d)] if net is not None else []
        is_uneven = any(side % stride for m in layers for side, stride in zip(m.kernel_size, m.stride, strict=True))
        self.advice = (self.ADVICE_ON_KERNEL, *self.ADVICE) if is_uneven else self.ADVICE

    def observe_images(self, lr: Tensor, sr: Tensor, hr: Tensor) -> None:
        side = next((side for side in BLOCK_SIDES if side <= min(hr.shape[-2:])), None)
        if side is None:
            return
        self._scale = hr.shape[-1] // lr.shape[-1]
        power, count = zip(*(_sum_power(image, side) for image in (sr, hr)), strict=True)
        self._power[side] = self._power.get(side, 0) + torch.stack(power)
        self._count[side] = self._count.get(side, 0) + count[0]

    def verdict(self) -> str | None:
        failure = None
        for side, power in self._power.items():
            if failure is None and self._count[side] >= MIN_BLOCKS:
                sr_power, hr_power = (power / self._count[side]).cpu()
                failure = self._describe_pattern(sr_power, hr_power)
        self._power.clear()
        self._count.clear()
        return failure

    def _describe_pattern(self, sr_power: Tensor, hr_power: Tensor) -> str | None:
        for period in sorted({2, self._scale}):
            level, height = _find_peak(sr_power, period)
            excess = height - max(0.0, _find_peak(hr_power, period)[1])
            if level >= self.levels and excess >= self.peak:
                return f"a pattern of period {period}, {level:.1f} levels, {excess:.0f} dB"
        return None


def _sum_power(image: Tensor, side: int) -> tuple[Tensor, int]:
    """Return the power spectrum `[side, side]` in squared levels, summed over all blocks of all images, and their number.
    Blocks are Hann-windowed and overlap by half. A wave of root mean square r that fills a bin has r² there."""
    image = image.clamp(0, 1).float()
    levels = 255 * (rgb_to_luma(image) if image.shape[1] == 3 else image)[:, 0]
    window = torch.hann_window(side, device=image.device)
    window = window[:, None] * window
    blocks = levels.unfold(-2, side, side // 2).unfold(-2, side, side // 2)  # [B, rows, columns, K, K]
    blocks = blocks.reshape(-1, side, side)
    wave = torch.fft.fft2((blocks - blocks.mean(dim=(-2, -1), keepdim=True)) * window / window.sum())
    return wave.abs().square().sum(dim=0), len(blocks)


def _find_peak(power: Tensor, period: int) -> tuple[float, float]:
    """Return the root mean square in levels of the pattern with this period, and its height in dB above the neighbors two
    and three bins away: the window blurs a peak over one."""
    step = len(power) // period
    ring = [(y, x) for y in range(-3, 4) for x in range(-3, 4) if max(abs(y), abs(x)) > 1]
    peak = around = 0.0
    for y, x in ((y, x) for y in range(0, len(power), step) for x in range(0, len(power), step) if y or x):
        neighbors = torch.stack([power[(y + dy) % len(power), (x + dx) % len(power)] for dy, dx in ring])
        peak += power[y, x].item()
        around += neighbors.clamp_min(1e-12).log().mean().exp().item()
    return math.sqrt(max(0.0, peak - around)), 10 * math.log10((peak + 1e-9) / (around + 1e-9))
