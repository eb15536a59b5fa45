"""Checkpoints while a run trains: files that a kill at any moment leaves whole.

`Judge` stands first among the callbacks and `Keeper` last: between them all that a validation tells is handed to the
tracker, which has it on the disk before a checkpoint of that step is in place.
"""

import sr.runtime.torchvision_shim  # noqa: F401  before Lightning and torchmetrics

import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer

from sr.callback.best import BestCheckpoint
from sr.checkpoint.atomic import link_file, sync_folder, write_checkpoint
from sr.checkpoint.load import KEY
from sr.metric.key import name_metrics, parse_metrics
from sr.model.module import SRModule
from sr.record.checkpoint_files import LAST, PART_SUFFIX, PREVIOUS
from sr.runtime import rng_state
from sr.runtime.error import DiskError
from sr.runtime.signals import signals
from sr.track.tracker import Tracker

LOOK = 50  # steps between two looks at the clock where several processes have to agree on it


class CheckpointWriter(Callback):
    """Writes `last.ckpt` at each validation and, between two steps, every `minutes` and every `steps`; `previous.ckpt`
    is the last one before it, and the best files are links to what was the last one then.

    A checkpoint holds all that the rest of a training depends on: Lightning's own (weights, optimizers, rates, loops,
    the scaler of half precision), what module and callbacks keep, and every state of chance.
    """

    def __init__(self, judge: BestCheckpoint, config: dict[str, Any], tracker: Tracker, minutes: float | None = None,
                 steps: int | None = None) -> None:  # fmt: skip
        self.judge, self.tracker = judge, tracker
        self.minutes, self.steps = minutes, steps
        self.config = {key: part for key, part in config.items() if key != "track"}  # its address may hold a password
        self.leaks: list[
            list[str]
        ] = []  # `sr.data.known_leaks.Leak`, plain: training pictures that stand in evaluation sets
        self._saved, self._when = 0, time.monotonic()  # the step of the last file, and the time
        self._chance: dict[str, Any] | None = None  # of a run that goes on, until its first batch

    def on_save_checkpoint(self, trainer: Trainer, module: SRModule, checkpoint: dict[str, Any]) -> None:
        known = {
            "config": self.config,
            "metrics": name_metrics(module.metrics),
            "bicubic": name_metrics(module.bicubic),
        }
        checkpoint.setdefault(KEY, {}).update(known, leaks=self.leaks, chance=_of_all(trainer, rng_state.capture()))
        _at_rest(checkpoint, trainer.num_training_batches)

    def on_load_checkpoint(self, trainer: Trainer, module: SRModule, checkpoint: dict[str, Any]) -> None:
        entry = checkpoint[KEY]
        if self.judge.is_comparable:
            module.metrics, module.bicubic = (parse_metrics(entry[name]) for name in ("metrics", "bicubic"))
        self._saved = checkpoint["global_step"]
        states = entry.get("chance")  # files of earlier versions have none
        self._chance = states[min(trainer.global_rank, len(states) - 1)] if states else None

    def on_train_start(self, trainer: Trainer, module: SRModule) -> None:
        self._when = time.monotonic()
        if trainer.is_global_zero:
            for part in self._last.parent.glob(f"{self._last.name}.*{PART_SUFFIX}"):  # of a process that was killed
                part.unlink()
        if trainer.world_size == 1:  # several would have to agree on the step at which to stop
            signals.defer()

    def on_train_batch_start(self, trainer: Trainer, module: SRModule, *_: object) -> None:
        """Between two steps: only now are all hooks of the last one done, also the module's own."""
        if self._chance is not None:
            rng_state.restore(self._chance)
            self._chance = None
        if module.is_between_steps and trainer.global_step != self._saved and self._due(trainer):
            self._save(trainer, module)
        if module.is_between_steps:
            signals.raise_if_requested()

    def on_validation_end(self, trainer: Trainer, module: SRModule) -> None:
        if trainer.sanity_checking:
            return
        self._save(trainer, module, self.judge.better)
        signals.raise_if_requested()

    def on_train_end(self, trainer: Trainer, module: SRModule) -> None:
        if self._saved != trainer.global_step:  # nothing was validated: what was trained is kept all the same
            self._save(trainer, module)
        self.tracker.flush()  # all of its files are there
        signals.stop_deferring()

    def on_exception(self, *_: object) -> None:
        """In the middle of a step there is nothing that could be resumed exactly: the last file stays the last."""
        signals.is_deferring = False

    def _due(self, trainer: Trainer) -> bool:
        if signals.is_requested or (self.steps and trainer.global_step % self.steps == 0):
            return True
        late = self.minutes is not None and time.monotonic() - self._when >= 60 * self.minutes
        if trainer.world_size == 1:
            return late
        return trainer.global_step % LOOK == 0 and trainer.strategy.broadcast(late)

    def _save(self, trainer: Trainer, module: SRModule, better: list[Path] | None = None) -> None:
        step = trainer.global_step
        with (
            module.use_eval_weights()
        ):  # what is kept is what is measured; the content is the weights themselves, no copy
            content = trainer._checkpoint_connector.dump_checkpoint(False)  # its public way would write twice
            part = self._written(content, step) if trainer.is_global_zero else None
        if part:
            self.tracker.call_when_flushed(partial(self._put_in_place, part, step, better or []))
        self._saved, self._when = step, time.monotonic()

    def _written(self, content: dict[str, Any], step: int) -> Path:
        """Under a name of its own, until the journal has all that was told before this step."""
        part = self._last.with_name(f"{self._last.name}.{step}{PART_SUFFIX}")
        try:
            with part.open("wb") as file:
                write_checkpoint(content, file)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise self._lost(step, error) from None
        return part

    def _put_in_place(self, part: Path, step: int, better: list[Path]) -> None:
        """At every moment there is a `last.ckpt` that is whole, and a best one at least as late as it tells of."""
        try:
            for path in better:
                link_file(part, path)
            if self._last.exists():
                link_file(self._last, self._last.with_name(PREVIOUS))
            part.replace(self._last)
            sync_folder(self._last.parent)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise self._lost(step, error) from None
        self.tracker.mark_saved(step)

    @property
    def _last(self) -> Path:
        return self.judge.folder / LAST

    def _lost(self, step: int, error: OSError) -> DiskError:
        whole = "; the one before it is whole" if self._last.exists() else ""
        what = f"the checkpoint of step {step} cannot be written ({error.strerror or error}){whole}"
        return DiskError(f"{self._last}: {what}")


def _at_rest(checkpoint: dict[str, Any], batches: float) -> None:
    """Lightning counts the next batch before it begins, a batch as completed a little after it is, and an epoch after its
    last validation: it would resume each of these in a way of its own. All become a training between two batches."""
    loops = checkpoint["loops"]["fit_loop"]
    batch, epoch = loops["epoch_loop.batch_progress"], loops["epoch_progress"]
    for counted in (batch["total"], batch["current"]):
        counted.update(dict.fromkeys(("ready", "started", "completed"), counted["processed"]))
    batch["is_last_batch"] = False
    if batch["current"]["processed"] >= batches:  # the next one is of a new epoch
        optimizer = loops["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]
        counters = (batch, loops["epoch_loop.scheduler_progress"], optimizer["step"], optimizer["zero_grad"])
        for counted in (*(each["current"] for each in counters), loops["epoch_loop.val_loop.batch_progress"]["total"]):
            counted.update(dict.fromkeys(counted, 0))
        for counted in (epoch["total"], epoch["current"]):
            counted.update(dict.fromkeys(counted, counted["ready"]))
    checkpoint["epoch"] = epoch["current"]["completed"]


def _of_all(trainer: Trainer, mine: dict[str, Any]) -> list[dict[str, Any]]:
    """What each process has, by rank."""
    if trainer.world_size == 1:
        return [mine]
    found: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(found, mine)
    return found
