"""Protection against NaN and exploding losses: bad steps are skipped, repeated ones return to an earlier state."""

import sr.runtime.torchvision_shim  # noqa: F401  before Lightning and torchmetrics

import math
import sys
from collections import deque
from typing import Annotated, Any

from annotated_types import Gt
from pytorch_lightning import LightningModule

from sr.model.error import ExplodedError
from sr.model.snapshot import Snapshot, restore_snapshot, take_snapshot
from sr.model.step import BadStep
from sr.runtime.option_types import NonNegativeInt, PositiveFraction, PositiveInt

SKIP_WINDOW = 20  # steps within which bad steps count as repeated
MIN_GOOD_STEPS = 20  # before a finite loss can count as exploding
MEAN_STEPS = 100  # steps, about, over which the running mean of the loss reaches back


class Guard:
    """Decides for each step whether its gradient may change the weights.

    A step is bad if its loss or gradient is not finite, or if its loss is above `explosion_factor` times the running mean
    of its size. A bad step is skipped. `max_skips` of them within 20 steps restore weights and optimizers of
    `snapshot_interval` to 2 · `snapshot_interval` steps ago, and multiply all learning rates by `lr_factor`. After
    `max_rollbacks` of these the training ends with `ExplodedError`.

    A checkpoint holds the counts and the two snapshots, each of which is as large as the training, so that a resumed run
    returns to the same step as an uninterrupted one.
    """

    def __init__(
        self,
        explosion_factor: Annotated[float, Gt(1)] = 20.0,
        max_skips: PositiveInt = 3,
        max_rollbacks: NonNegativeInt = 3,
        lr_factor: PositiveFraction = 0.5,
        snapshot_interval: PositiveInt = 200,
    ) -> None:
        self.explosion_factor, self.max_skips, self.max_rollbacks = explosion_factor, max_skips, max_rollbacks
        self.lr_factor, self.snapshot_interval = lr_factor, snapshot_interval
        self.skipped = self.rollbacks = 0
        self._mean, self._good_steps = 0.0, 0  # running mean of the loss's size, and steps that it was taken from
        self._recent: deque[bool] = deque(maxlen=SKIP_WINDOW)  # True for a bad step
        self._snapshots: deque[Snapshot] = deque(maxlen=2)

    def state_dict(self) -> dict[str, Any]:
        """Return the counts and the snapshots as plain values and tensors, for a checkpoint."""
        counts = {"skipped": self.skipped, "returned": self.rollbacks, "mean": self._mean, "good": self._good_steps}
        return {**counts, "recent": list(self._recent), "snapshots": [s._asdict() for s in self._snapshots]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state returned by `state_dict()`."""
        self.skipped, self.rollbacks = state["skipped"], state["returned"]
        self._mean, self._good_steps = state["mean"], state["good"]
        self._recent = deque(state["recent"], maxlen=SKIP_WINDOW)
        snapshots = state.get("snapshots", [])  # files of earlier versions have none, nor have best checkpoints
        self._snapshots = deque((Snapshot(**snapshot) for snapshot in snapshots), maxlen=2)

    def is_good_step(self, norm: float, loss: float | None = None) -> bool:
        """Return True if a step with this gradient norm may be done. `loss` is None for an update of D.

        The loss of a good step enters the running mean.
        """
        is_good = math.isfinite(norm) and (loss is None or self._is_usual(loss))
        if is_good and loss is not None:
            self._good_steps += 1
            self._mean += (abs(loss) - self._mean) / min(self._good_steps, MEAN_STEPS)
        return is_good

    def count_step(self, is_bad: bool) -> None:
        """Count a finished step; bad if the update of the net or of D was skipped."""
        self._recent.append(is_bad)
        self.skipped += is_bad

    def _is_usual(self, loss: float) -> bool:
        return math.isfinite(loss) and (self._good_steps < MIN_GOOD_STEPS or loss <= self.explosion_factor * self._mean)

    def take_snapshot(self, module: LightningModule, step: int) -> None:
        """Take a snapshot if one is due and the last steps were all good."""
        is_due = not self._snapshots or step >= self._snapshots[-1].step + self.snapshot_interval
        if is_due and not any(self._recent):
            self._snapshots.append(take_snapshot(module, step))

    def handle_bad_step(self, module: LightningModule, step: int, bad: BadStep) -> None:
        """Report a bad step; restore a snapshot after repeated ones, and raise `ExplodedError` if that did not help."""
        is_loss_bad = bad.loss is not None and (math.isfinite(bad.norm) or not math.isfinite(bad.loss))
        reason = f"the loss is {bad.loss:.4g}" if is_loss_bad else "the gradient is not finite"
        if sum(self._recent) < self.max_skips or not self._snapshots:
            _report(module, f"step {step}: {reason}, so the step was skipped ({self.skipped} so far)")
            return
        if self.rollbacks >= self.max_rollbacks:
            rate = module.trainer.optimizers[0].param_groups[0]["lr"]
            raise ExplodedError(
                f"step {step}: {reason}: the training has exploded, also after {self.rollbacks} rollbacks; "
                f"lower model.optimizer.lr (now {rate:.2g}) or set trainer.gradient_clip_val",
                step,
                bad.batch,
            )
        self.rollbacks += 1
        snapshot = self._snapshots[0]
        self._snapshots = deque([snapshot], maxlen=2)
        self._recent.clear()
        restore_snapshot(module, snapshot, self.lr_factor)
        _report(
            module,
            f"step {step}: {reason}, {self.max_skips} times in {SKIP_WINDOW} steps: back to the weights of step "
            f"{snapshot.step}, learning rates times {self.lr_factor:g} (rollback {self.rollbacks} of {self.max_rollbacks})",
        )


def remove_snapshots(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return a checkpoint without the guard's snapshots, two thirds of its size, which only a resumed run needs."""
    module = checkpoint.get("module", {})
    guard = {name: value for name, value in module.get("guard", {}).items() if name != "snapshots"}
    return checkpoint | {"module": module | {"guard": guard}} if guard else checkpoint


def _report(module: LightningModule, line: str) -> None:
    if module.trainer.is_global_zero:
        print(line, file=sys.stderr)
