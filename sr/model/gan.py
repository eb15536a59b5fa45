"""`model=gan`: a generator (the net) against a discriminator; manual optimization.

The generator first learns alone on the losses of `model/loss` for `warmup_steps`, then against D as well, whose weight
rises to its full size within `ramp_steps`. One step is one update of the generator: D's updates are hidden from
Lightning's step counter, so that `trainer.max_steps` and all clocks mean G.
"""

import sr.runtime.torchvision_shim  # noqa: F401  before Lightning and torchmetrics

import contextlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from sr.image.batch import Pair
from sr.model.module import SRModule, list_trainable
from sr.model.objective import Objective
from sr.runtime.error import UserError


class GAN(SRModule):
    """Minimises `loss(net(lr), hr) + weight · adversarial(D(net(lr)))` while D learns to tell real from fake.

    Each step takes `accumulate · d_steps` batches: D is updated after every `accumulate` of them, G once, on the last
    `accumulate`. `clip` bounds each player's gradient norm. `noise` is the standard deviation of Gaussian noise on
    all that D sees (Sønderby et al., "Amortised MAP Inference for Image Super-resolution", 2017,
    https://arxiv.org/abs/1610.04490, section 3.4). `penalty` holds what D is fined for, by name.
    """

    JUDGED = "train/loss_pixel"

    def __init__(
        self,
        discriminator: nn.Module,
        loss: Objective,
        adversarial: nn.Module,
        discriminator_optimizer: Callable[..., Optimizer],
        penalty: Mapping[str, nn.Module] | None = None,
        weight: float = 1e-3,
        warmup_steps: int = 1000,
        ramp_steps: int = 0,
        d_steps: int = 1,
        noise: float = 0.0,
        accumulate: int = 1,
        **parts: Any,
    ) -> None:
        super().__init__(**parts)
        for dial, steps in (("warmup_steps", warmup_steps), ("ramp_steps", ramp_steps)):
            if not isinstance(steps, int) or steps < 0:
                raise UserError(f"model.{dial}={steps}: expected a whole number of steps, 0 or more")
        if not isinstance(weight, int | float):
            raise UserError(f"model.weight={weight}: expected a number")
        if noise < 0:
            raise UserError(f"model.noise={noise}: expected a standard deviation, 0 or more")
        self.automatic_optimization = False
        self.discriminator = discriminator
        self.loss, self.adversarial = loss, adversarial
        self.penalty = nn.ModuleDict(penalty or {})
        self.discriminator_optimizer = discriminator_optimizer
        self.weight, self.noise = weight, noise
        self.warmup_steps, self.ramp_steps, self.d_steps = warmup_steps, ramp_steps, d_steps
        self.accumulate = accumulate
        self._batches = 0  # since the start: an epoch's length need not be a multiple of what a step takes

    @property
    def is_between_steps(self) -> bool:
        return self._batches % (self.accumulate * self.d_steps) == 0

    @property
    def may_become_best(self) -> bool:
        return self.global_step > self.warmup_steps

    @property
    def ramp(self) -> float:
        """How much of its weight the adversarial loss has, on the way up to 1."""
        return min(1.0, (self.global_step - self.warmup_steps + 1) / max(1, self.ramp_steps))

    def configure_optimizers(self) -> tuple[list[Optimizer], list[Any]]:
        generator = self.optimizer(list_trainable(self.net))
        discriminator = self.discriminator_optimizer(list_trainable(self.discriminator))
        steps = self.budget(self.accumulate * self.d_steps)
        if steps <= self.warmup_steps:
            warnings.warn(
                f"model.warmup_steps={self.warmup_steps}: with {steps} steps in all, the discriminator never plays",
                stacklevel=2,
            )
        schedules = [
            self.schedule(generator, total=steps),
            self.schedule(discriminator, total=max(1, steps - self.warmup_steps) * self.d_steps),
        ]
        return [generator, discriminator], schedules

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["module"]["batches"] = self._batches

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self._batches = checkpoint.get("module", {}).get("batches", 0)

    def _dry_run(self, lr: Tensor, hr: Tensor) -> Tensor:
        sr = super()._dry_run(lr, hr)
        self.discriminator(sr)
        return sr

    def training_step(self, pair: Pair, batch_idx: int) -> None:
        playing = self.global_step >= self.warmup_steps
        at = self._batches % (self.accumulate * self.d_steps)
        self._batches += 1
        enlarging = at >= self.accumulate * (self.d_steps - 1)  # G learns from this batch
        if not playing and not enlarging:
            return  # meant for D, which does not play yet: a step takes as many batches as ever
        if not self._fed:  # the step's first batch; of what several updates of D tell, the last stands
            self.signals = {}
        lr, hr = self.shown(pair)
        generator, discriminator = self.optimizers()
        _hide_from_clock(discriminator)
        rates = self.lr_schedulers()
        step_now = (at + 1) % self.accumulate == 0
        self.signals["train/lr"] = generator.param_groups[0]["lr"]

        with contextlib.nullcontext() if enlarging else torch.no_grad():
            sr = self.net(lr)
        if playing:
            update = (self.global_step - self.warmup_steps) * self.d_steps + at // self.accumulate
            self._judge(hr, sr.detach(), update)
        if enlarging:
            self._enlarge(sr, hr, playing)
        if step_now and playing:  # both have answered the other's last move: accumulated batches are one larger batch
            _step(discriminator, rates[1])
        if step_now and enlarging:
            _step(generator, rates[0])

    def _opinion(self, images: Tensor) -> Tensor:
        """What D says of them, in full precision."""
        seen = images + self.noise * torch.randn_like(images) if self.noise else images
        return self.discriminator(seen).float()

    def _judge(self, hr: Tensor, fake: Tensor, update: int) -> None:
        """D's half of the game, before its update number `update`; `fake` is cut off from G."""
        self.discriminator.requires_grad_(True)
        real_logit, fake_logit = self._opinion(hr), self._opinion(fake)
        loss = self.adversarial.discriminator(real_logit, fake_logit)
        self.signals |= {
            "train/loss_d": loss.detach(),
            "train/d_real": self.adversarial.probability(real_logit.detach()),
            "train/d_fake": self.adversarial.probability(fake_logit.detach()),
        }
        for name, penalty in self.penalty.items():
            if update % penalty.every == 0:
                fine = penalty(self.discriminator, hr, fake)
                self.signals[f"train/penalty_{name}"] = fine.detach()
                loss = loss + penalty.weight * penalty.every * fine
        self.manual_backward(loss / self.accumulate)

    def _enlarge(self, sr: Tensor, hr: Tensor, playing: bool) -> None:
        """G's half: the losses and, once D plays, D's opinion. D's weights get no gradient from it."""
        terms, weights = self.loss(sr, hr), self.loss.weights
        loss = self.loss.total(terms)
        self.tell_loss(loss)
        if playing:
            terms["adversarial"] = self._believed(sr, hr)
            weights = weights | {"adversarial": self.weight * self.ramp}
            loss = loss + weights["adversarial"] * terms["adversarial"]
            if self.ramp < 1:
                self.signals["train/ramp"] = self.ramp
        self.signals["train/loss_g"] = loss.detach()
        self.tell_terms(terms, weights)
        self.manual_backward(loss / self.accumulate)

    def _believed(self, sr: Tensor, hr: Tensor) -> Tensor:
        self.discriminator.requires_grad_(False)
        real_logit = self._opinion(hr) if self.adversarial.relative else None
        loss = self.adversarial.generator(self._opinion(sr), real_logit)
        self.discriminator.requires_grad_(True)
        return loss


def _step(optimizer: LightningOptimizer, schedule: LRScheduler) -> None:
    optimizer.step()
    optimizer.zero_grad()
    schedule.step()


def _hide_from_clock(optimizer: LightningOptimizer) -> None:
    """Lightning counts a step in these two hooks, and sets them anew before each batch."""
    optimizer._on_before_step = optimizer._on_after_step = lambda: None
