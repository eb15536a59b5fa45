"""`model/alarm=[d_wins]`: the discriminator distinguishes all real images from all fakes, and G learns nothing from it.

If D is certain, the gradient of a saturating loss vanishes, and that of any other loss points away from D, not to the real
images (Arjovsky and Bottou, "Towards Principled Methods for Training Generative Adversarial Networks", 2017,
https://arxiv.org/abs/1701.04862, theorem 2.4). A critic (`model/adversarial=wgan`) may distinguish them as well as it can,
because its gradient does not vanish with that (the sequel, https://arxiv.org/abs/1701.07875, section 3).
"""

from collections.abc import Mapping

from torch import nn

from sr.alarm.rule import Rule, SignalWindow
from sr.runtime.option_types import Fraction, NonNegativeFloat, PositiveInt

SHARE = "train/share_adversarial"


class DWins(Rule):
    """Reports one of three failures, over `window` steps:

    - the mean of D(real) is above `real` of its target (0.9 with label smoothing 0.1), and that of D(fake) below `fake`;
    - D's loss is within `loss` of its minimum (that of a hinge loss is reached at D(real)=0.73 and D(fake)=0.27);
    - D distinguishes them, and less than `gradient_share` of G's gradient comes from it, at the full adversarial weight.

    For a critic, whose scores have no bounds, only the gradient counts.
    """

    advice = ADVICE = (
        "model.adversarial.saturating=false", "lower model.discriminator_optimizer.lr", "model.instance_noise=0.05",
        "model/penalty=[r1]",
    )  # fmt: skip
    ADVICE_FOR_CRITIC = ("raise model.adversarial_weight", "bound the critic's gradient: model/penalty=[gradient]")
    signals = ("train/d_real", "train/d_fake", "train/loss_d", SHARE, "train/ramp")
    MIN_GAP = 0.4  # between D(real) and D(fake): below it D has not won, whatever its loss is

    def __init__(
        self, real: Fraction = 0.98, fake: Fraction = 0.02, loss: NonNegativeFloat = 0.02, gradient_share: Fraction = 1e-3,
        window: PositiveInt = 200,
    ) -> None:  # fmt: skip
        self.real, self.fake, self.loss, self.gradient_share = real, fake, loss, gradient_share
        self._window = SignalWindow(window)
        self._real_target: float | None = 1.0  # of D(real); None: D's output is no probability
        self._min_d_loss = 0.0

    def start(self, adversarial: object | None, net: nn.Module | None = None) -> None:
        self._real_target = getattr(adversarial, "real_target", 1.0)
        self._min_d_loss = getattr(adversarial, "min_d_loss", 0.0)
        self.advice = self.ADVICE_FOR_CRITIC if self._real_target is None else self.ADVICE

    def observe_step(self, step: int, signals: Mapping[str, float]) -> str | None:
        """Report at every step at which the last `window` steps show the failure."""
        if "train/d_real" in signals:
            self._window.add(signals)
        if "train/d_real" not in signals or not self._window.is_full:
            return None
        real, fake = self._window.mean("train/d_real"), self._window.mean("train/d_fake")

        # D is certain.
        if self._real_target is not None and real >= self.real * self._real_target and fake <= self.fake:
            return f"D(real)={real:.2f}, D(fake)={fake:.2f} over {len(self._window)} steps"
        if real - fake < self.MIN_GAP * (self._real_target or 1.0):
            return None

        # D's loss is at its minimum.
        loss = self._window.mean("train/loss_d")
        if abs(loss - self._min_d_loss) <= self.loss:
            minimum = f", {loss - self._min_d_loss:.3f} above its minimum" if self._min_d_loss else ""
            return f"its loss is {loss:.3f}{minimum}"

        # G gets no gradient from D.
        shares = [_full_weight_share(signals) for signals in self._window if SHARE in signals]
        if shares and max(shares) <= self.gradient_share:
            return f"only {max(shares):.1e} of G's gradient comes from D"
        return None


def _full_weight_share(signals: Mapping[str, float]) -> float:
    """Return D's share of G's gradient as it would be at the full adversarial weight; on the ramp it is smaller."""
    share, ramp = signals[SHARE], signals.get("train/ramp", 1.0)
    return share / (share + ramp * (1 - share)) if share else 0.0
