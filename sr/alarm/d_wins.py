"""`model/alarm=[d_wins]`: the discriminator tells every real picture from every fake, and teaches nothing any more.

Where D is sure, the gradient of a saturating game is gone, and that of any other points away from D, not to the pictures
(Arjovsky and Bottou, "Towards Principled Methods for Training Generative Adversarial Networks", 2017,
https://arxiv.org/abs/1701.04862, theorem 2.4). A critic (`model/adversarial=wgan`) may tell them apart as well as it can, for
its gradient does not fade with that (ibid.'s sequel, https://arxiv.org/abs/1701.07875, section 3).
"""

from collections.abc import Mapping

from sr.alarm.rule import Rule, Window

SHARE = "train/share_adversarial"


class DWins(Rule):
    """Over `window` steps D's mean belief in real is above `real` of what it may be (0.9 for labels smoothed by 0.1) and in fakes
    below `fake`; or its loss is within `loss` of the least it can be (a hinge is content at 0.73 and 0.27); or, where it tells
    them apart, G's gradient has less than `share` of it, at the adversarial loss's full weight.

    Of a critic, whose scores are of any size, the gradient alone counts.
    """

    advice = LOUD = (
        "lower model.discriminator_optimizer.lr, blur D's sight (model.noise=0.05, model/penalty=[r1]), "
        "or set model.adversarial.saturating=false"
    )
    FLAT = "raise model.weight, and keep the critic's slope at 1 (model/penalty=[gradient])"
    signals = ("train/d_real", "train/d_fake", "train/loss_d", SHARE, "train/ramp")
    APART = 0.4  # between the beliefs: less is no victory, whatever the loss says

    def __init__(
        self, real: float = 0.98, fake: float = 0.02, loss: float = 0.02, share: float = 1e-3, window: int = 200
    ) -> None:
        self.real, self.fake, self.loss, self.share = real, fake, loss, share
        self._window = Window(window)
        self._ceiling: float | None = 1.0  # of the belief in real images; None: no reading is a belief
        self._floor = 0.0  # of D's loss

    def start(self, game: object | None) -> None:
        self._ceiling, self._floor = getattr(game, "ceiling", 1.0), getattr(game, "floor", 0.0)
        self.advice = self.FLAT if self._ceiling is None else self.LOUD

    def observe_step(self, step: int, signals: Mapping[str, float]) -> str | None:
        """Says it at every step that ends such a window."""
        if "train/d_real" not in signals or not self._window.take(signals):
            return None
        real, fake = self._window.mean("train/d_real"), self._window.mean("train/d_fake")
        believes = f"D(real)={real:.2f}, D(fake)={fake:.2f} over {len(self._window)} steps"
        if self._ceiling is not None and real >= self.real * self._ceiling and fake <= self.fake:
            return believes
        if real - fake < self.APART * (self._ceiling or 1.0):
            return None
        loss, shares = self._window.mean("train/loss_d"), [_full(s) for s in self._window if SHARE in s]
        if abs(loss - self._floor) <= self.loss:
            least = f", {loss - self._floor:.3f} above the least there is" if self._floor else ""
            return f"{believes}, and its loss is {loss:.3f}{least}"
        if shares and max(shares) <= self.share:
            return f"{believes}, and {max(shares):.1e} of G's gradient comes from it"
        return None


def _full(signals: Mapping[str, float]) -> float:
    """D's share of G's gradient as it were at full weight: on the ramp, it is small because its weight is."""
    share, ramp = signals[SHARE], signals.get("train/ramp", 1.0)
    return share / (share + ramp * (1 - share)) if share else 0.0
