"""Write checkpoints during a training, so that a kill at any moment leaves intact files.

`BestCheckpoint` is the first of the callbacks and `CheckpointWriter` the last: between them, everything that a validation
reports reaches the tracker, which has it on the disk before the checkpoint of that step is in place.
"""

import sr.runtime.torchvision_shim  # noqa: F401  before Lightning and torchmetrics

import contextlib
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
from sr.model.guard import remove_snapshots
from sr.model.module import SRModule
from sr.record.checkpoint_files import LAST, PART_SUFFIX, PREVIOUS
from sr.record.run_file import create_file
from sr.runtime import rng_state
from sr.runtime.error import DiskError
from sr.runtime.signals import signals
from sr.track.tracker import Tracker

CLOCK_INTERVAL = 50  # steps after which several processes agree on whether `minutes` have passed


class CheckpointWriter(Callback):
    """Writes `last.ckpt` at each validation and, between two steps, every `minutes` and every `steps` steps.

    `previous.ckpt` is the one before it. A best checkpoint is the last one of that step without the guard's snapshots.

    A checkpoint holds everything that the rest of the training depends on: Lightning's own state (weights, optimizers,
    schedules, loops, the scaler of half precision), the state of module and callbacks, and that of all random number
    generators. `leaks` are training images that are in evaluation sets (`sr.data.known_leaks.Leak` as plain lists).
    """

    def __init__(
        self,
        best: BestCheckpoint,
        config: dict[str, Any],
        tracker: Tracker,
        minutes: float | None = None,
        steps: int | None = None,
    ) -> None:
        self.best, self.tracker = best, tracker
        self.minutes, self.steps = minutes, steps
        self.config = {key: part for key, part in config.items() if key != "track"}  # its address may hold a password
        self.leaks: list[list[str]] = []
        self._last_step, self._last_time = 0, time.monotonic()  # of the last checkpoint
        self._rng_states: dict[str, Any] | None = None  # of a resumed run, until its first batch

    @property
    def last_path(self) -> Path:
        """The path of the newest checkpoint."""
        return self.best.folder / LAST

    def on_save_checkpoint(self, trainer: Trainer, module: SRModule, checkpoint: dict[str, Any]) -> None:
        checkpoint.setdefault(KEY, {}).update(
            config=self.config,
            metrics=name_metrics(module.metrics),
            bicubic=name_metrics(module.bicubic),
            leaks=self.leaks,
            chance=_gather(trainer, rng_state.capture()),
        )
        _normalize_loop_counters(checkpoint, trainer.num_training_batches)

    def on_load_checkpoint(self, trainer: Trainer, module: SRModule, checkpoint: dict[str, Any]) -> None:
        entry = checkpoint[KEY]
        if self.best.is_comparable:
            module.metrics, module.bicubic = (parse_metrics(entry[name]) for name in ("metrics", "bicubic"))
        self._last_step = checkpoint["global_step"]
        states = entry.get("chance")  # files of earlier versions have none
        self._rng_states = states[min(trainer.global_rank, len(states) - 1)] if states else None

    def on_train_start(self, trainer: Trainer, module: SRModule) -> None:
        self._last_time = time.monotonic()
        if trainer.is_global_zero:
            for path in self.last_path.parent.glob(f"{self.last_path.name}.*{PART_SUFFIX}"):  # of a killed process
                path.unlink()
        signals.defer(is_shared=trainer.world_size > 1)

    def on_train_batch_start(self, trainer: Trainer, module: SRModule, *_: object) -> None:
        """Write a checkpoint between two steps: only now all hooks of the last step are done, also the module's."""
        if self._rng_states is not None:
            rng_state.restore(self._rng_states)
            self._rng_states = None
        if module.is_between_steps and trainer.global_step != self._last_step and self._is_due(trainer):
            self._save(trainer, module)
        if module.is_between_steps:
            signals.raise_if_requested()

    def on_validation_end(self, trainer: Trainer, module: SRModule) -> None:
        if trainer.sanity_checking:
            return
        self._save(trainer, module, self.best.improved)
        signals.raise_if_requested()

    def on_train_end(self, trainer: Trainer, module: SRModule) -> None:
        if self._last_step != trainer.global_step:  # without validation, the result is saved all the same
            self._save(trainer, module)
        self.tracker.flush()  # all checkpoints are in place after this
        signals.stop_deferring()

    def on_exception(self, trainer: Trainer, module: SRModule, exception: BaseException) -> None:
        """Write nothing: within a step there is no state that could be resumed exactly.

        On a full disk, remove the files that waited for reports which cannot be stored any more.
        """
        signals.is_deferring = False
        if isinstance(exception, DiskError) and trainer.is_global_zero:
            with contextlib.suppress(DiskError):
                self.tracker.flush()  # those whose reports are stored are in place after this
            _remove_files(list(self.best.folder.glob(f"{LAST}.*{PART_SUFFIX}")))

    def _is_due(self, trainer: Trainer) -> bool:
        """Return True if a checkpoint is to be written now, also because the run was asked to end."""
        if signals.is_requested or (self.steps and trainer.global_step % self.steps == 0):
            return True
        is_late = self.minutes is not None and time.monotonic() - self._last_time >= 60 * self.minutes
        if trainer.world_size == 1:
            return is_late
        return trainer.global_step % CLOCK_INTERVAL == 0 and trainer.strategy.broadcast(is_late)

    def _save(self, trainer: Trainer, module: SRModule, best_paths: list[Path] | None = None) -> None:
        """Write the present state as the last checkpoint, and as the best ones of `best_paths`."""
        step = trainer.global_step
        with module.use_eval_weights():  # the content refers to the weights and copies none
            content = trainer._checkpoint_connector.dump_checkpoint(False)  # the public method would write twice
            parts = self._write_parts(content, bool(best_paths)) if trainer.is_global_zero else []
        if parts:
            self.tracker.call_when_flushed(partial(self._put_in_place, parts, step, best_paths or []))
        self._last_step, self._last_time = step, time.monotonic()

    def _write_parts(self, content: dict[str, Any], has_best: bool) -> list[Path]:
        """Write the file of the last checkpoint, and that of the best ones, under temporary names.

        They have these names until the tracker has stored all reports up to this step.
        """
        step = content["global_step"]
        contents = {f"{step}": content} | ({f"{step}.best": remove_snapshots(content)} if has_best else {})
        parts = [self.last_path.with_name(f"{self.last_path.name}.{name}{PART_SUFFIX}") for name in contents]
        try:
            for part, content_of_part in zip(parts, contents.values(), strict=True):
                with create_file(part) as file:
                    write_checkpoint(content_of_part, file)
        except OSError as error:
            _remove_files(parts)
            raise self._describe_disk_error(step, error) from None
        return parts

    def _put_in_place(self, parts: list[Path], step: int, best_paths: list[Path]) -> None:
        """Rename the files; at every moment there is an intact `last.ckpt`, and a best one at least as new as it states."""
        try:
            for path in best_paths:
                link_file(parts[1], path)
            if self.last_path.exists():
                link_file(self.last_path, self.last_path.with_name(PREVIOUS))
            parts[0].replace(self.last_path)
            _remove_files(parts)
            sync_folder(self.last_path.parent)
        except OSError as error:
            _remove_files(parts)
            raise self._describe_disk_error(step, error) from None
        self.tracker.mark_saved(step)

    def _describe_disk_error(self, step: int, error: OSError) -> DiskError:
        intact = "; the one before it is intact" if self.last_path.exists() else ""
        reason = error.strerror or error
        return DiskError(f"{self.last_path}: the checkpoint of step {step} cannot be written ({reason}){intact}")


def _remove_files(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _normalize_loop_counters(checkpoint: dict[str, Any], num_batches: float) -> None:
    """Set Lightning's counters to those of a training between two batches.

    Lightning counts the next batch before it begins, a batch as completed a little after it is, and an epoch after its last
    validation, and would resume each of these states in a different way. `num_batches` is the length of an epoch.
    """
    loops = checkpoint["loops"]["fit_loop"]
    batch, epoch = loops["epoch_loop.batch_progress"], loops["epoch_progress"]
    for counts in (batch["total"], batch["current"]):
        counts.update(dict.fromkeys(("ready", "started", "completed"), counts["processed"]))
    batch["is_last_batch"] = False
    if batch["current"]["processed"] >= num_batches:  # the next batch is of a new epoch
        optimizer = loops["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]
        progresses = (batch, loops["epoch_loop.scheduler_progress"], optimizer["step"], optimizer["zero_grad"])
        validation = loops["epoch_loop.val_loop.batch_progress"]
        for counts in (*(progress["current"] for progress in progresses), validation["total"]):
            counts.update(dict.fromkeys(counts, 0))
        for counts in (epoch["total"], epoch["current"]):
            counts.update(dict.fromkeys(counts, counts["ready"]))
    checkpoint["epoch"] = epoch["current"]["completed"]


def _gather(trainer: Trainer, state: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the states of all processes, by rank."""
    if trainer.world_size == 1:
        return [state]
    states: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(states, state)
    return states
