"""`model=gan`: a generator G (the net) against a discriminator D; manual optimization.

G is first trained on the losses of `model/loss` alone for `warmup_steps`, then against D as well; the weight of the
adversarial loss rises to its full size within `ramp_steps`. One step is one update of G: D's updates are hidden from
Lightning's step counter, so that `trainer.max_steps`, schedules and intervals count updates of G.
"""

import sr.runtime.torchvision_shim  # noqa: F401  before Lightning and torchmetrics

import contextlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Unpack

import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from sr.image.batch import Pair
from sr.inference.layout import convert_weights
from sr.model.gradient import list_trainable
from sr.model.module import SharedParts, SRModule
from sr.runtime.option_types import NonNegativeFloat, NonNegativeInt, PositiveInt
from sr.runtime.terminal import format_count


class Logits(NamedTuple):
    """D's outputs for one batch, of any shape."""

    real: Tensor
    fake: Tensor


class GAN(SRModule):
    """Minimizes `loss(net(lr), hr) + adversarial_weight · adversarial(D(net(lr)))`; D learns to distinguish real from fake.

    Each step takes `accumulate · d_steps` batches: D is updated after every `accumulate` of them, G once, on the last
    `accumulate`. `clip` bounds the gradient norm of each. `instance_noise` is the standard deviation of Gaussian noise on
    all images that D receives (Sønderby et al., "Amortised MAP Inference for Image Super-resolution", 2017,
    https://arxiv.org/abs/1610.04490, section 3.4). `penalty` holds the penalties on D, by name.

    In a single process, the losses of D and G are computed from the same forward passes of D, if a second one gives the same
    output (its `is_repeatable`), and without instance noise.
    """

    loss_signal = "train/loss_pixel"

    def __init__(
        self,
        discriminator: nn.Module,
        adversarial: nn.Module,
        discriminator_optimizer: Callable[..., Optimizer],
        penalty: Mapping[str, nn.Module] | None = None,
        adversarial_weight: NonNegativeFloat = 1e-3,
        warmup_steps: NonNegativeInt = 1000,
        ramp_steps: NonNegativeInt = 0,
        d_steps: PositiveInt = 1,
        instance_noise: NonNegativeFloat = 0.0,
        accumulate: PositiveInt = 1,
        **shared: Unpack[SharedParts],
    ) -> None:
        super().__init__(**shared)
        self.automatic_optimization = False
        self.discriminator, self.adversarial = discriminator, adversarial
        self.penalty = nn.ModuleDict(penalty or {})
        self.discriminator_optimizer = discriminator_optimizer
        self.adversarial_weight, self.instance_noise = adversarial_weight, instance_noise
        self._has_repeatable_d = not instance_noise and getattr(discriminator, "is_repeatable", False)
        self._shares_logits = False  # by both losses
        self.warmup_steps, self.ramp_steps = warmup_steps, ramp_steps
        self.d_steps, self.accumulate = d_steps, accumulate
        self._batches = 0  # since the start: an epoch's length need not be a multiple of the batches in a step

    @property
    def is_between_steps(self) -> bool:
        return self._batches % (self.accumulate * self.d_steps) == 0

    @property
    def may_become_best(self) -> bool:
        return self.global_step > self.warmup_steps

    @property
    def ramp(self) -> float:
        """The share of its weight, up to 1, that the adversarial loss has at this step."""
        return min(1.0, (self.global_step - self.warmup_steps + 1) / max(1, self.ramp_steps))

    def setup(self, stage: str) -> None:
        super().setup(stage)
        if stage == "fit" and self.trainer.channels_last:
            convert_weights(self.discriminator, torch.channels_last)
        # DDP would wait for the gradient of G in the backward pass of D's loss.
        self._shares_logits = self._has_repeatable_d and isinstance(self.trainer.strategy, SingleDeviceStrategy)

    def configure_optimizers(self) -> tuple[list[Optimizer], list[Any]]:
        generator = self.optimizer(list_trainable(self.net))
        discriminator = self.discriminator_optimizer(list_trainable(self.discriminator))
        steps = self.set_total_steps(self.accumulate * self.d_steps)
        if steps <= self.warmup_steps:
            warnings.warn(
                f"model.warmup_steps={self.warmup_steps}: with {format_count(steps, 'step')} in all, the discriminator is never "
                f"used",
                stacklevel=2,
            )
        schedules = [self.schedule(generator, total=steps), self._schedule_discriminator(discriminator, steps)]
        return [generator, discriminator], schedules

    def _schedule_discriminator(self, optimizer: Optimizer, steps: int) -> LRScheduler:
        """Return D's schedule, which begins after the warm-up of G and counts updates of D, as its warnings do."""
        updates = max(1, steps - self.warmup_steps) * self.d_steps
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            schedule = self.schedule(optimizer, total=updates)
        for warning in caught if steps > self.warmup_steps else ():
            text = str(warning.message).replace(
                f"{format_count(updates, 'step')} in all", format_count(updates, "update") + " of the discriminator"
            )
            warnings.warn(text, warning.category, stacklevel=3)
        return schedule

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["module"]["batches"] = self._batches

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self._batches = checkpoint.get("module", {}).get("batches", 0)

    def _run_parts(self, lr: Tensor, hr: Tensor) -> Tensor:
        sr = super()._run_parts(lr, hr)
        self.discriminator(sr)
        return sr

    def training_step(self, pair: Pair, batch_idx: int) -> None:
        # Position of this batch in the step.
        position = self._batches % (self.accumulate * self.d_steps)
        self._batches += 1
        trains_d = self.global_step >= self.warmup_steps
        trains_g = position >= self.accumulate * (self.d_steps - 1)
        if not trains_d and not trains_g:
            return  # in the warm-up D's batches are passed over, so that a step takes the same number of batches
        if self.step.is_empty:  # of several updates of D in a step, the signals of the last one remain
            self.signals = {}
        lr, hr = self.take_batch(pair)
        generator_optimizer, discriminator_optimizer = self.optimizers()
        _hide_from_step_counter(discriminator_optimizer)
        generator_schedule, discriminator_schedule = self.lr_schedulers()
        self.signals["train/lr"] = generator_optimizer.param_groups[0]["lr"]

        # Forward and backward passes.
        with contextlib.nullcontext() if trains_g else torch.no_grad():
            sr = self.net(lr)
        logits = None
        if trains_d:
            update = (self.global_step - self.warmup_steps) * self.d_steps + position // self.accumulate
            logits = self._backward_discriminator(hr, sr, update)
        if trains_g:
            self._backward_generator(sr, hr, logits)

        # Updates, after both backward passes: accumulated batches give the step of one larger batch.
        if (position + 1) % self.accumulate == 0:
            if trains_d:
                _update(discriminator_optimizer, discriminator_schedule)
            if trains_g:
                _update(generator_optimizer, generator_schedule)

    def _discriminate(self, images: Tensor) -> Tensor:
        """Return D's output for the images, with instance noise, in full precision."""
        noisy = images + self.instance_noise * torch.randn_like(images) if self.instance_noise else images
        return self.discriminator(noisy).float()

    def _backward_discriminator(self, hr: Tensor, sr: Tensor, update: int) -> Logits:
        """Backpropagate D's loss and penalties before D's update number `update`; G gets no gradient from them.

        Returns D's outputs, from which G's loss can be computed as well.
        """
        # Adversarial loss.
        self.discriminator.requires_grad_(True)
        is_shared = self._shares_logits and sr.requires_grad
        logits = Logits(self._discriminate(hr), self._discriminate(sr if is_shared else sr.detach()))
        loss = self.adversarial.discriminator(*logits)
        self.signals |= {
            "train/loss_d": loss.detach(),
            "train/d_real": self.adversarial.probability(logits.real.detach()),
            "train/d_fake": self.adversarial.probability(logits.fake.detach()),
        }

        # Penalties, each only every few updates and that many times as strong.
        for name, penalty in self.penalty.items():
            if update % penalty.interval == 0:
                value = penalty(self.discriminator, hr, sr.detach())
                self.signals[f"train/penalty_{name}"] = value.detach()
                loss = loss + penalty.weight * penalty.interval * value
        inputs = list_trainable(self.discriminator) if is_shared else None
        self.manual_backward(loss / self.accumulate, inputs=inputs, retain_graph=is_shared)
        return logits._replace(real=logits.real.detach())  # its graph is not needed any more

    def _backward_generator(self, sr: Tensor, hr: Tensor, logits: Logits | None) -> None:
        """Backpropagate G's losses and, after the warm-up, the adversarial one. D's weights get no gradient from it."""
        terms, weights = self.loss(sr, hr), self.loss.weights
        loss = self.loss.total(terms)
        self.log_loss(loss)
        if logits is not None:
            terms["adversarial"] = self._adversarial_loss(sr, hr, logits)
            weights = weights | {"adversarial": self.adversarial_weight * self.ramp}
            loss = loss + weights["adversarial"] * terms["adversarial"]
            if self.ramp < 1:
                self.signals["train/ramp"] = self.ramp
        self.signals["train/loss_g"] = loss.detach()
        self.log_terms(terms, weights)
        self.manual_backward(loss / self.accumulate, inputs=self._trainable if self._shares_logits else None)

    def _adversarial_loss(self, sr: Tensor, hr: Tensor, logits: Logits) -> Tensor:
        """Return G's adversarial loss, from D's `logits` if they are shared, otherwise from new forward passes."""
        is_relativistic = self.adversarial.relativistic
        if self._shares_logits:
            return self.adversarial.generator(logits.fake, logits.real if is_relativistic else None)
        self.discriminator.requires_grad_(False)
        real_logit = self._discriminate(hr) if is_relativistic else None
        loss = self.adversarial.generator(self._discriminate(sr), real_logit)
        self.discriminator.requires_grad_(True)
        return loss


def _update(optimizer: LightningOptimizer, schedule: LRScheduler) -> None:
    optimizer.step()
    optimizer.zero_grad()
    schedule.step()


def _hide_from_step_counter(optimizer: LightningOptimizer) -> None:
    """Disable the two hooks by which Lightning counts a step; it sets them again before each batch."""
    optimizer._on_before_step = optimizer._on_after_step = lambda: None
