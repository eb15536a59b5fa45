"""`model=gan`: a generator (the net) against a discriminator; manual optimization.

The generator first learns alone on the pixel loss for `warmup_steps`, then against D. One step is one update of the
generator: D's update is hidden from Lightning's step counter, so that `trainer.max_steps` and all clocks mean G.
"""

import warnings
from collections.abc import Callable
from typing import Any

from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.optim import Optimizer

from sr.model.module import SRModule, trainable
from sr.model.objective import Objective
from sr.pair import Pair


class GAN(SRModule):
    """Minimises `loss(net(lr), hr) + weight · adversarial(D(net(lr)))` while D learns to tell real from fake.

    `accumulate` batches make one step; `clip` bounds each player's gradient norm.
    """

    JUDGED = "train/loss_pixel"

    def __init__(
        self,
        discriminator: nn.Module,
        loss: Objective,
        adversarial: nn.Module,
        discriminator_optimizer: Callable[..., Optimizer],
        weight: float = 1e-3,
        warmup_steps: int = 1000,
        accumulate: int = 1,
        **parts: Any,
    ) -> None:
        super().__init__(**parts)
        self.automatic_optimization = False
        self.discriminator = discriminator
        self.loss, self.adversarial = loss, adversarial
        self.discriminator_optimizer = discriminator_optimizer
        self.weight, self.warmup_steps = weight, warmup_steps
        self.accumulate = accumulate
        self._batches = 0  # since the start: an epoch's length need not be a multiple of `accumulate`

    @property
    def counts(self) -> bool:
        return self.global_step > self.warmup_steps

    def configure_optimizers(self) -> tuple[list[Optimizer], list[Any]]:
        generator = self.optimizer(trainable(self.net))
        discriminator = self.discriminator_optimizer(trainable(self.discriminator))
        steps = self.budget(self.accumulate)
        if steps <= self.warmup_steps:
            warnings.warn(
                f"model.warmup_steps={self.warmup_steps}: with {steps} steps in all, the discriminator never plays",
                stacklevel=2,
            )
        schedules = [
            self.schedule(generator, total=steps),
            self.schedule(discriminator, total=max(1, steps - self.warmup_steps)),
        ]
        return [generator, discriminator], schedules

    def _rehearse(self, lr: Tensor, hr: Tensor) -> Tensor:
        sr = super()._rehearse(lr, hr)
        self.discriminator(sr)
        return sr

    def training_step(self, pair: Pair, batch_idx: int) -> None:
        lr, hr = self.shown(pair)
        generator, discriminator = self.optimizers()
        _hide_from_clock(discriminator)
        rates = self.lr_schedulers()
        self._batches += 1
        step_now = self._batches % self.accumulate == 0
        playing = self.global_step >= self.warmup_steps
        self.signals = {"train/lr": generator.param_groups[0]["lr"]}

        sr = self.net(lr)
        if playing:
            self._judge(hr, sr.detach())
            if step_now:
                _step(discriminator)
                rates[1].step()
        self._enlarge(sr, hr, playing)
        if step_now:
            _step(generator)
            rates[0].step()

    def _judge(self, hr: Tensor, fake: Tensor) -> None:
        """D's half of the game; `fake` is cut off from G."""
        self.discriminator.requires_grad_(True)
        real_logit, fake_logit = self.discriminator(hr), self.discriminator(fake)
        loss = self.adversarial.discriminator(real_logit, fake_logit)
        self.manual_backward(loss / self.accumulate)
        self.signals |= {
            "train/loss_d": loss.detach(),
            "train/d_real": self.adversarial.probability(real_logit.detach()),
            "train/d_fake": self.adversarial.probability(fake_logit.detach()),
        }

    def _enlarge(self, sr: Tensor, hr: Tensor, playing: bool) -> None:
        """G's half: the pixel loss and, once D plays, D's opinion. D's weights get no gradient from it."""
        terms, weights = self.loss(sr, hr), self.loss.weights
        loss = self.loss.total(terms)
        self.tell_loss(loss)
        if playing:
            self.discriminator.requires_grad_(False)
            terms["adversarial"] = self.adversarial.generator(self.discriminator(sr))
            self.discriminator.requires_grad_(True)
            weights = weights | {"adversarial": self.weight}
            loss = loss + self.weight * terms["adversarial"]
        self.signals["train/loss_g"] = loss.detach()
        self.tell_terms(terms, weights)
        self.manual_backward(loss / self.accumulate)


def _step(optimizer: LightningOptimizer) -> None:
    optimizer.step()
    optimizer.zero_grad()


def _hide_from_clock(optimizer: LightningOptimizer) -> None:
    """Lightning counts a step in these two hooks, and sets them anew before each batch."""
    optimizer._on_before_step = optimizer._on_after_step = lambda: None
