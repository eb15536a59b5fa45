"""What CNN and GAN have in common: measuring the net, and bicubic beside it, on every evaluation set."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from sr.color import luma
from sr.degrade.resize import bicubic
from sr.error import UserError
from sr.metric.protocol import Protocol
from sr.metric.score import Score
from sr.model.enlarge import enlarge
from sr.pair import Pair

CHECK_EVERY = 20  # steps between two looks at the losses: each waits for the device


class Shown(NamedTuple):
    """What a measuring step hands to the callbacks; float 0…1."""

    lr: Tensor  # [B, C, h, w]
    sr: Tensor  # [B, C, s·h, s·w]
    hr: Tensor  # [B, C, s·h, s·w]


class SRModule(LightningModule):
    """A net and the protocol it is measured by.

    One clock: `global_step` counts updates of the net (the generator). After a validation or test, `metrics` and
    `bicubic` hold means by name (`val/Set5/psnr`), and `per_image` the single values by `val/Set5`; `best` holds the
    metrics of the best step, and `step`. During training, `signals` holds the last step's detached scalars by name.
    """

    def __init__(
        self,
        net: nn.Module,
        optimizer: Callable[..., Optimizer],
        schedule: Callable[..., LRScheduler],
        metric: Protocol,
        color: str,
    ) -> None:
        super().__init__()
        self.net = net
        self.optimizer, self.schedule = optimizer, schedule
        self.metric, self.color = metric, color
        self.metrics: dict[str, float] = {}
        self.bicubic: dict[str, float] = {}
        self.per_image: dict[str, dict[str, list[float]]] = {}
        self.best: dict[str, float] = {}
        self.signals: dict[str, Tensor | float] = {}
        self.total_steps = 0
        self._scores: dict[str, Score] = {}

    def visible(self, pair: Pair) -> Pair:
        """The pair as the net sees it in training: with `color=y`, luma alone."""
        return Pair(luma(pair.lr), luma(pair.hr)) if self.color == "y" else pair

    @property
    def counts(self) -> bool:
        """Whether the weights of this step may become the best: not before the training proper has begun."""
        return True

    def rehearse(self, pair: Pair) -> None:
        """One pass before there is a run that could fail: parts that do not fit one another are told of at once."""
        self.eval()
        try:
            self.optimizer(trainable(self.net))
            with torch.no_grad():
                self._rehearse(*self.visible(Pair(pair.lr[:2], pair.hr[:2])))
        except (RuntimeError, ValueError, TypeError) as error:
            raise UserError(f"model: its parts do not fit these images or one another ({error})") from error
        self.train()

    def _rehearse(self, lr: Tensor, hr: Tensor) -> Tensor:
        sr = self.net(lr)
        if sr.shape != hr.shape:
            raise UserError(f"model/net: from {tuple(lr.shape)} came {tuple(sr.shape)}, expected {tuple(hr.shape)}")
        return sr

    def on_train_start(self) -> None:
        self.metrics = {}  # of the untrained net, which are not this run's result

    def on_train_batch_end(self, *_: object) -> None:
        step = self.global_step
        if step % CHECK_EVERY == 0 or step >= self.total_steps:
            self._check_finite(step)
        if step >= self.total_steps:
            self.trainer.should_stop = True  # so that Lightning validates the last step, whatever the interval

    def _check_finite(self, step: int) -> None:
        for name, value in self.signals.items():
            if not math.isfinite(value):
                rate = self.signals.get("train/lr")
                raise UserError(
                    f"{name} is {float(value)} at step {step}: the training has exploded. "
                    f"Lower model.optimizer.lr (now {rate:.2g}) or set trainer.gradient_clip_val"
                )

    def validation_step(self, pair: Pair, batch_idx: int, dataloader_idx: int = 0) -> Shown:
        return self._measure("val", pair, dataloader_idx)

    def test_step(self, pair: Pair, batch_idx: int, dataloader_idx: int = 0) -> Shown:
        return self._measure("test", pair, dataloader_idx)

    def on_validation_epoch_start(self) -> None:
        self._scores.clear()

    on_test_epoch_start = on_validation_epoch_start

    def on_validation_epoch_end(self) -> None:
        for key, score in self._scores.items():
            values = {f"{key}/{name}": value for name, value in score.compute().items()}
            if key.startswith("bicubic/"):
                self.bicubic |= {name.removeprefix("bicubic/"): value for name, value in values.items()}
            else:
                self.metrics |= values
            self.per_image[key] = score.per_image()

    on_test_epoch_end = on_validation_epoch_end

    def _measure(self, part: str, pair: Pair, set_index: int) -> Shown:
        key = f"{part}/{self.trainer.datamodule.set_name(part, set_index)}"
        sr = enlarge(self.net, pair.lr, self.color)
        self._score(key).update(sr, pair.hr, pair.lr)
        if f"{key}/psnr" not in self.bicubic:  # the same at every validation, so once is enough
            self._score(f"bicubic/{key}").update(bicubic(pair.lr, self.metric.scale), pair.hr, pair.lr)
        return Shown(pair.lr, sr, pair.hr)

    def _score(self, key: str) -> Score:
        return self._scores.setdefault(key, Score(self.metric))

    def budget(self, accumulate: int = 1) -> int:
        """Steps of the generator in this training, from `trainer.max_steps` or `trainer.max_epochs`."""
        steps = int(self.trainer.estimated_stepping_batches)  # the smaller of both, where a batch is a step
        if accumulate > 1 and (self.trainer.max_epochs or -1) > 0:
            steps = self.trainer.num_training_batches * self.trainer.max_epochs // accumulate
            steps = min(steps, self.trainer.max_steps) if self.trainer.max_steps > 0 else steps
        self.total_steps = max(1, steps)
        return self.total_steps


def trainable(module: nn.Module) -> list[nn.Parameter]:
    """The parameters that learn."""
    return [p for p in module.parameters() if p.requires_grad]
