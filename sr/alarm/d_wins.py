"""`model/alarm=[d_wins]`: the discriminator tells every real picture from every fake, and teaches nothing any more.

Where D is sure, the gradient of a saturating game is gone, and that of any other points away from D, not to the pictures
(Arjovsky and Bottou, "Towards Principled Methods for Training Generative Adversarial Networks", 2017,
https://arxiv.org/abs/1701.04862, theorem 2.4).
"""

from collections.abc import Mapping

from sr.alarm.rule import Rule, Window


class DWins(Rule):
    """Over `window` steps D's mean belief in real is above `real` and in fakes below `fake`; or its loss is within `loss`
    of zero (a hinge is content at 0.73 and 0.27); or, where it tells them apart, G's gradient has less than `share` of it.
    """

    advice = (
        "lower model.discriminator_optimizer.lr, blur D's sight (model.noise=0.05, model/penalty=[r1]), "
        "or set model.adversarial.saturating=false"
    )
    signals = ("train/d_real", "train/d_fake", "train/loss_d", "train/share_adversarial")
    APART = 0.4  # between the beliefs: less is no victory, whatever the loss says

    def __init__(
        self, real: float = 0.98, fake: float = 0.02, loss: float = 0.02, share: float = 1e-3, window: int = 200
    ) -> None:
        self.real, self.fake, self.loss, self.share = real, fake, loss, share
        self._window = Window(window)

    def step(self, step: int, signals: Mapping[str, float]) -> str | None:
        """Says it at every step that ends such a window."""
        if "train/d_real" not in signals or not self._window.take(signals):
            return None
        real, fake = self._window.mean("train/d_real"), self._window.mean("train/d_fake")
        believes = f"D(real)={real:.2f}, D(fake)={fake:.2f} over {len(self._window)} steps"
        if real >= self.real and fake <= self.fake:
            return believes
        if real - fake < self.APART:
            return None
        loss, shares = self._window.mean("train/loss_d"), self._window.values("train/share_adversarial")
        if abs(loss) <= self.loss:
            return f"{believes}, and its loss is {loss:.3f}"
        if shares and max(shares) <= self.share:
            return f"{believes}, and {max(shares):.1e} of G's gradient comes from it"
        return None
