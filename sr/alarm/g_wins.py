"""`model/alarm=[g_wins]`: the discriminator cannot distinguish fakes from real images.

At the optimum of adversarial training D could not either (Goodfellow et al., "Generative Adversarial Nets", 2014,
https://arxiv.org/abs/1406.2661, proposition 2), but in super-resolution that is not reached in practice: a D that cannot
distinguish them is too weak or too slow, or is dead: after a learning rate that was too high its output is constant.
"""

from collections.abc import Mapping
from statistics import fmean, pstdev

from sr.alarm.rule import Rule, SignalWindow
from sr.runtime.option_types import Fraction, PositiveInt


class GWins(Rule):
    """D(real) is above D(fake) by less than `gap` in both halves of `window` steps: D is not learning to distinguish them
    either."""

    advice = ADVICE = (
        "raise model.discriminator_optimizer.lr", "raise model.d_steps", "choose a stronger model/discriminator",
    )  # fmt: skip
    ADVICE_IF_DEAD = ("lower model.discriminator_optimizer.lr", "and train again: D is dead")
    signals = ("train/d_real", "train/d_fake")
    # Both probabilities this near to 0, or to 1, are two scores far out on one side: their difference cannot be read.
    SATURATION = 0.01
    # D is dead if |D(real) - D(fake)| at a step is on average below the larger of these two. That of a D which has not
    # learned yet is random, about 1e-3.
    DEAD_GAP = 2e-4
    DEAD_GAP_OF_DEVIATION = 0.1  # times the standard deviation of D(real) from step to step

    def __init__(self, gap: Fraction = 0.02, window: PositiveInt = 300) -> None:
        self.gap = gap
        self._window = SignalWindow(window)

    def observe_step(self, step: int, signals: Mapping[str, float]) -> str | None:
        """Report at every step at which the last `window` steps show the failure."""
        if "train/d_real" in signals:
            self._window.add(signals)
        if "train/d_real" not in signals or not self._window.is_full:
            return None
        real, fake = self._window.mean("train/d_real"), self._window.mean("train/d_fake")
        pairs = zip(self._window.values("train/d_real"), self._window.values("train/d_fake"), strict=True)
        gaps, half = [real - fake for real, fake in pairs], len(self._window) // 2
        is_readable = max(real, fake) > self.SATURATION and min(real, fake) < 1 - self.SATURATION
        if not is_readable or max(fmean(gaps[:half]), fmean(gaps[half:])) > self.gap:
            return None
        deviation = pstdev(self._window.values("train/d_real")[half:])
        is_dead = fmean(map(abs, gaps[half:])) < max(self.DEAD_GAP, self.DEAD_GAP_OF_DEVIATION * deviation)
        self.advice = self.ADVICE_IF_DEAD if is_dead else self.ADVICE
        if is_dead:
            return f"D's output is {real:.2f}, the same for every image"
        return f"D(real)={real:.2f}, D(fake)={fake:.2f} over {len(self._window)} steps"
