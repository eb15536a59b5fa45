"""What stands between a training and its NaN: bad steps are skipped, repeated ones take the training back."""

import sr.runtime.torchvision_shim  # noqa: F401  before Lightning and torchmetrics

import copy
import math
import sys
from collections import deque
from typing import Any, NamedTuple

import torch
from pytorch_lightning import LightningModule
from torch.optim import Optimizer

from sr.image.batch import Pair
from sr.runtime.error import UserError

WINDOW = 20  # steps in which repeated bad ones count together
SETTLED = 20  # good steps before a loss can be told to explode
MEMORY = 100  # steps, about, of the running mean of the loss


class ExplodedError(UserError):
    """A training that could not be saved; `batch` is what its last bad step was fed."""

    def __init__(self, message: str, step: int, batch: Pair) -> None:
        super().__init__(message)
        self.step, self.batch = step, batch


class Bad(NamedTuple):
    """Why a step was skipped."""

    norm: float  # of the gradient
    loss: float | None  # the net's; None: it was the discriminator's step
    batch: Pair  # what it was fed; of several under accumulation, the one with the largest loss


class State(NamedTuple):
    """Everything that a step changes, on the CPU."""

    step: int
    weights: dict[str, Any]
    optimizers: list[dict[str, Any]]


class Guard:
    """Judges each step of the net before it is done.

    Bad is a loss or a gradient that is not finite, or a loss above `explosion` times its running mean size. A bad step is
    skipped; `skips` of them within 20 steps take weights and optimizers back to a state of `keep_every` to
    2 · `keep_every` steps ago, and all rates are multiplied by `lower`; after `returns` of these the training ends.

    A checkpoint holds what it has counted, but not the states to go back to, each of which is as large as the training:
    one that is resumed goes back to no earlier step than that checkpoint's.
    """

    def __init__(
        self, explosion: float = 20.0, skips: int = 3, returns: int = 3, lower: float = 0.5, keep_every: int = 200
    ) -> None:
        if explosion <= 1 or skips < 1 or returns < 0 or keep_every < 1 or not 0 < lower <= 1:
            raise UserError(
                f"model.guard: explosion={explosion} skips={skips} returns={returns} lower={lower} keep_every={keep_every}: "
                "expected explosion above 1, skips and keep_every from 1 up, returns from 0 up, lower from 0 to 1"
            )
        self.explosion, self.skips, self.returns = explosion, skips, returns
        self.lower, self.keep_every = lower, keep_every
        self.skipped = self.returned = 0
        self._mean, self._good = 0.0, 0
        self._recent: deque[bool] = deque(maxlen=WINDOW)
        self._states: deque[State] = deque(maxlen=2)

    def state_dict(self) -> dict[str, Any]:
        """What was counted, plain, for a checkpoint."""
        counted = {"skipped": self.skipped, "returned": self.returned, "mean": self._mean, "good": self._good}
        return {**counted, "recent": list(self._recent)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The way back."""
        self.skipped, self.returned = state["skipped"], state["returned"]
        self._mean, self._good = state["mean"], state["good"]
        self._recent = deque(state["recent"], maxlen=WINDOW)

    def good(self, norm: float, loss: float | None = None) -> bool:
        """Whether a step of this gradient norm may be done, and of this loss if it is the net's."""
        good = math.isfinite(norm) and (loss is None or self._usual(loss))
        if good and loss is not None:
            self._good += 1
            self._mean += (abs(loss) - self._mean) / min(self._good, MEMORY)
        return good

    def count(self, bad: bool) -> None:
        """After each step of the clock: whether any player's was skipped."""
        self._recent.append(bad)
        self.skipped += bad

    def _usual(self, loss: float) -> bool:
        return math.isfinite(loss) and (self._good < SETTLED or loss <= self.explosion * self._mean)

    def keep(self, module: LightningModule, step: int) -> None:
        """After each step: remember the state from time to time, unless something was wrong lately."""
        if not any(self._recent) and (not self._states or step >= self._states[-1].step + self.keep_every):
            self._states.append(_state(module, step))

    def answer(self, module: LightningModule, step: int, bad: "Bad") -> None:
        """After a bad step: say so, and go back when it was not the first; raises `ExplodedError` when that did not help."""
        told = bad.loss is not None and (math.isfinite(bad.norm) or not math.isfinite(bad.loss))
        what = f"the loss is {bad.loss:.4g}" if told else "the gradient is not finite"
        if sum(self._recent) < self.skips or not self._states:
            _tell(module, f"step {step}: {what}, so the step was skipped ({self.skipped} so far)")
            return
        rate = _optimizers(module)[0].param_groups[0]["lr"]
        if self.returned >= self.returns:
            raise ExplodedError(
                f"step {step}: {what}: the training has exploded, also after going back {self.returned} times. "
                f"Lower model.optimizer.lr (now {rate:.2g}) or set trainer.gradient_clip_val",
                step,
                bad.batch,
            )
        self.returned += 1
        back = self._states[0]
        self._states = deque([back], maxlen=2)
        self._recent.clear()
        restore(module, back, self.lower)
        _tell(
            module,
            f"step {step}: {what}, {self.skips} times in {WINDOW} steps: back to the weights of step {back.step}, "
            f"rates times {self.lower:g} (return {self.returned} of {self.returns})",
        )


def _tell(module: LightningModule, line: str) -> None:
    if module.trainer.is_global_zero:
        print(line, file=sys.stderr)


def _state(module: LightningModule, step: int) -> State:
    weights = {name: _copied(value) for name, value in module.state_dict().items()}
    return State(step, weights, [_copied(optimizer.state_dict()) for optimizer in _optimizers(module)])


def _copied(value: Any) -> Any:
    """A copy on the CPU of whatever a state dict holds."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {name: _copied(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_copied(part) for part in value]
    return copy.copy(value)


def restore(module: LightningModule, state: State, lower: float) -> None:
    """Put the state back, and multiply every rate by `lower` from here on."""
    module.load_state_dict(state.weights)
    for optimizer, kept in zip(_optimizers(module), state.optimizers, strict=True):
        rates = [group["lr"] for group in optimizer.param_groups]
        optimizer.load_state_dict(copy.deepcopy(kept))
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = lower * rate
            group["initial_lr"] = lower * group.get("initial_lr", rate)
    for schedule in _schedules(module):
        schedule.base_lrs = [lower * rate for rate in schedule.base_lrs]


def _optimizers(module: LightningModule) -> list[Optimizer]:
    return module.trainer.optimizers


def _schedules(module: LightningModule) -> list[Any]:
    return [config.scheduler for config in module.trainer.lr_scheduler_configs]
