"""`model/alarm=[g_wins]`: the discriminator cannot tell fakes from real pictures, so that its opinion is chance.

At the game's end it could not either (Goodfellow et al., "Generative Adversarial Nets", 2014,
https://arxiv.org/abs/1406.2661, proposition 2); in super-resolution nobody has been there: D that cannot tell is too
weak, too slow, or has died: after too high a rate its answer is a constant.
"""

from collections.abc import Mapping
from statistics import fmean, pstdev

from sr.alarm.rule import Rule, Window


class GWins(Rule):
    """In both halves of `window` steps D believes real pictures by less than `gap` more than fakes: it is not learning to
    tell them apart either."""

    advice = "raise model.discriminator_optimizer.lr or model.d_steps, or choose a stronger model/discriminator"
    DEAD = "it has died of its rate: lower model.discriminator_optimizer.lr, and begin anew"
    signals = ("train/d_real", "train/d_fake")
    END = 0.01  # both beliefs this near to 0 or 1 are two scores far out on one side: their difference cannot be read
    ALIKE = 2e-4  # between the beliefs at a step; of a D that has not learned yet they differ by chance, by 1e-3 …
    WANDERS = 0.1  # … or of how much its belief wanders from step to step, whatever it is shown

    def __init__(self, gap: float = 0.02, window: int = 300) -> None:
        self.gap = gap
        self._window = Window(window)

    def observe_step(self, step: int, signals: Mapping[str, float]) -> str | None:
        """Says it at every step that ends such a window."""
        if "train/d_real" not in signals or not self._window.take(signals):
            return None
        real, fake = self._window.mean("train/d_real"), self._window.mean("train/d_fake")
        pairs = zip(self._window.values("train/d_real"), self._window.values("train/d_fake"), strict=True)
        gaps, half = [real - fake for real, fake in pairs], len(self._window) // 2
        readable = max(real, fake) > self.END and min(real, fake) < 1 - self.END
        if not readable or max(fmean(gaps[:half]), fmean(gaps[half:])) > self.gap:
            return None
        wanders = pstdev(self._window.values("train/d_real")[half:])
        dead = fmean(map(abs, gaps[half:])) < max(self.ALIKE, self.WANDERS * wanders)
        self.advice = self.DEAD if dead else type(self).advice
        alike = ", the same for every picture" if dead else ""
        return f"D(real)={real:.2f}, D(fake)={fake:.2f} over {len(self._window)} steps{alike}"
