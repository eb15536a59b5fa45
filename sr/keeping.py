"""Checkpoints while a run trains: which step is the best, and files that a kill at any moment leaves whole.

`Judge` stands first among the callbacks and `Keeper` last: between them all that a validation tells is handed to the
tracker, which has it on the disk before a checkpoint of that step is in place.
"""

import contextlib
import io
import math
import os
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer

from sr import chance, weights
from sr.checkpoint import KEY
from sr.error import DiskError, UserError
from sr.model.module import SRModule
from sr.polite import signals
from sr.track.none import Nothing

PERCEPTUAL = ("lpips", "lpips_vgg", "dists", "spectrum")  # the first that is measured is a GAN's watch_also=auto
LOOK = 50  # steps between two looks at the clock where several processes have to agree on it


class Judge(Callback):
    """Knows the best step by `watch` and the best by `watch_also`, and stops a training that gets no better.

    A run that goes on keeps its best steps. One that begins with another's checkpoint takes over the best files beside
    it, in the folder `inherited`, unless they are later than that checkpoint.
    """

    def __init__(
        self, folder: Path, watch: str, config: dict[str, Any], patience: int | None = None,
        inherited: Path | None = None,
    ) -> None:  # fmt: skip
        self.folder, self.patience, self.config = folder, patience, config
        self._inherited = inherited
        self._waited = 0  # validations since the best one
        first = config["data"]["val"][0] if config["data"]["val"] else None
        self._set = f"val/{Path(first).name if first else ''}/"
        self.key = watch if "/" in watch else self._set + watch
        self.also: str | None = None  # of watch_also what `key` is of watch; known at the first validation
        self.second: dict[str, float] = {}  # by `also` what `module.best` is by `key`
        self.better: list[Path] = []  # the best files that the last validation has outdone

    @property
    def best(self) -> Path:
        """Where the best checkpoint is, or will be."""
        return self.folder / "best.ckpt"

    @property
    def best_also(self) -> Path | None:
        """Where the best by `also` is, or will be, named by that metric: `best_spectrum.ckpt`."""
        return self.folder / f"best_{self.also.rpartition('/')[2]}.ckpt" if self.also else None

    def kept(self) -> list[Path]:
        """The files that are there, the best first."""
        return [path for path in (self.best, self.best_also, self.folder / "last.ckpt") if path and path.exists()]

    def on_save_checkpoint(self, trainer: Trainer, module: SRModule, checkpoint: dict[str, Any]) -> None:
        best = {"best": dict(module.best), "second": dict(self.second), "also": self.also, "waited": self._waited}
        checkpoint.setdefault(KEY, {}).update(best)

    def on_load_checkpoint(self, trainer: Trainer, module: SRModule, checkpoint: dict[str, Any]) -> None:
        entry = checkpoint[KEY]
        self.also = entry.get("also")
        there = self._there(checkpoint["global_step"]) if trainer.is_global_zero else {}  # the others have no folder
        names = list(there) if trainer.world_size == 1 else trainer.strategy.broadcast(list(there))
        if self.best.name in names:
            module.best, self._waited = dict(entry["best"]), entry["waited"]
        if self.best_also and self.best_also.name in names:
            self.second = dict(entry["second"])
        if self._inherited:
            for name, path in there.items():
                _link(path, self.folder / name)
        if self.patience and self._waited >= self.patience and self._inherited is None:
            trainer.should_stop = True  # it was stopped then, and only its end is missing

    def _there(self, step: int) -> dict[str, Path]:
        """The best files that a training at this step goes on with."""
        folder = self._inherited or self.folder
        found = {path.name: folder / path.name for path in (self.best, self.best_also) if path}
        return {
            name: path
            for name, path in found.items()
            if path.exists() and not (self._inherited and weights.read(path)["global_step"] > step)
        }

    def on_validation_end(self, trainer: Trainer, module: SRModule) -> None:
        self._know(module)
        if trainer.sanity_checking:  # before the first step there is nothing worth keeping
            return
        better = _better(module, self.key, module.best)
        better_also = self.also is not None and _better(module, self.also, self.second)
        self.better = [self.best] * better + [self.best_also] * better_also
        counted = {k: v for k, v in module.metrics.items() if k.startswith("val/") and not k.endswith("_raw")}
        counted["step"] = trainer.global_step
        self._waited = 0 if better else self._waited + module.counts
        module.best = counted if better else module.best
        self.second = counted if better_also else self.second
        if self.patience and self._waited >= self.patience and not trainer.should_stop:
            trainer.should_stop = True
            print(f"step {trainer.global_step}: no better {self.key} in {self.patience} validations, so training stops")

    def _know(self, module: SRModule) -> None:
        """Find the second metric among those that are measured; raises where one is not."""
        known = sorted(name for name in module.metrics if not name.endswith("_raw"))
        also = self.config.get("watch_also")
        if also == "auto":
            names = PERCEPTUAL if "adversarial" in self.config["model"] else ()
            also = next((name for name in names if self._set + name in {*known} - {self.key}), None)
        also = also if also is None or "/" in also else self._set + also
        self.second = self.second if also == self.also else {}  # of a resumed run, by what it watched there
        self.also = also
        for dial, key in (("watch", self.key), ("watch_also", self.also)):
            if key is not None and key not in known:
                raise UserError(f"{dial}={key}: no such metric; there are {', '.join(known)}")


class Keeper(Callback):
    """Writes `last.ckpt` at each validation and, between two steps, every `minutes` and every `steps`; `previous.ckpt`
    is the last one before it, and the best files are links to what was the last one then.

    A checkpoint holds all that the rest of a training depends on: Lightning's own (weights, optimizers, rates, loops,
    the scaler of half precision), what module and callbacks keep, and every state of chance.
    """

    def __init__(
        self, judge: Judge, config: dict[str, Any], track: Nothing, minutes: float | None = None, steps: int | None = None
    ) -> None:  # fmt: skip
        self.judge, self.track = judge, track
        self.minutes, self.steps = minutes, steps
        self.config = {key: part for key, part in config.items() if key != "track"}  # its address may hold a password
        self.leaks: list[list[str]] = []  # `sr.data.leaks.Leak`, plain: training pictures that stand in evaluation sets
        self._saved, self._when = 0, time.monotonic()  # the step of the last file, and the time
        self._chance: dict[str, Any] | None = None  # of a run that goes on, until its first batch

    def on_save_checkpoint(self, trainer: Trainer, module: SRModule, checkpoint: dict[str, Any]) -> None:
        known = {"config": self.config, "metrics": dict(module.metrics), "bicubic": dict(module.bicubic)}
        checkpoint.setdefault(KEY, {}).update(known, leaks=self.leaks, chance=_of_all(trainer, chance.states()))
        _at_rest(checkpoint, trainer.num_training_batches)

    def on_load_checkpoint(self, trainer: Trainer, module: SRModule, checkpoint: dict[str, Any]) -> None:
        entry = checkpoint[KEY]
        module.metrics, module.bicubic = dict(entry["metrics"]), dict(entry["bicubic"])
        self._saved = checkpoint["global_step"]
        states = entry.get("chance")  # files of earlier versions have none
        self._chance = states[min(trainer.global_rank, len(states) - 1)] if states else None

    def on_train_start(self, trainer: Trainer, module: SRModule) -> None:
        self._when = time.monotonic()
        if trainer.world_size == 1:  # several would have to agree on the step at which to stop
            signals.wait()

    def on_train_batch_start(self, trainer: Trainer, module: SRModule, *_: object) -> None:
        """Between two steps: only now are all hooks of the last one done, also the module's own."""
        if self._chance is not None:
            chance.restore(self._chance)
            self._chance = None
        if module.at_rest and trainer.global_step != self._saved and self._due(trainer):
            self._save(trainer, module)
        if module.at_rest:
            signals.obey()

    def on_validation_end(self, trainer: Trainer, module: SRModule) -> None:
        if trainer.sanity_checking:
            return
        self._save(trainer, module, self.judge.better)
        signals.obey()

    def on_train_end(self, trainer: Trainer, module: SRModule) -> None:
        if self._saved != trainer.global_step:  # nothing was validated: what was trained is kept all the same
            self._save(trainer, module)
        signals.wait_no_more()

    def on_exception(self, *_: object) -> None:
        """In the middle of a step there is nothing that could be resumed exactly: the last file stays the last."""
        signals.waits = False

    def _due(self, trainer: Trainer) -> bool:
        if signals.asked or (self.steps and trainer.global_step % self.steps == 0):
            return True
        late = self.minutes is not None and time.monotonic() - self._when >= 60 * self.minutes
        if trainer.world_size == 1:
            return late
        return trainer.global_step % LOOK == 0 and trainer.strategy.broadcast(late)

    def _save(self, trainer: Trainer, module: SRModule, better: list[Path] | None = None) -> None:
        with module.settled():  # what is kept is what is measured
            content = trainer._checkpoint_connector.dump_checkpoint(False)  # its public way would write twice
        if trainer.is_global_zero:
            self._write(content, better or [])
            self.track.settled(trainer.global_step)
        self._saved, self._when = trainer.global_step, time.monotonic()

    def _write(self, content: dict[str, Any], better: list[Path]) -> None:
        """At every moment there is a `last.ckpt` that is whole, and a best one at least as late as it tells of."""
        last, part = self.judge.folder / "last.ckpt", self.judge.folder / "last.part"
        try:
            with part.open("wb") as file:
                _pour(content, file)
            self.track.barrier()
            for path in better:
                _link(part, path)
            if last.exists():
                _link(last, last.with_name("previous.ckpt"))
            part.replace(last)
            _settle(last.parent)
        except OSError as error:
            what = f"the checkpoint of step {content['global_step']} cannot be written ({error.strerror or error})"
            whole = f"; that of step {self._saved} is whole" if last.exists() else ""
            raise DiskError(f"{last}: {what}{whole}") from None
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)


def _better(module: SRModule, key: str, best: dict[str, float]) -> bool:
    sign = module.metric.sign(key.rpartition("/")[2])
    return module.counts and sign * module.metrics[key] > sign * best.get(key, -sign * math.inf)


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


def _pour(content: dict[str, Any], file: Any) -> None:
    """Onto the disk, by way of memory: what PyTorch says of a full disk is not that it is full."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    file.write(buffer.getbuffer())
    file.flush()
    os.fsync(file.fileno())


def _link(there: Path, path: Path) -> None:
    """`path` becomes the same file as `there`, or a copy where links cannot be; at no moment is it gone or cut off."""
    new = path.with_suffix(".link")
    new.unlink(missing_ok=True)
    try:
        os.link(there, new)
    except OSError:  # of a file system without links, or of two of them
        with there.open("rb") as source, new.open("wb") as file:
            shutil.copyfileobj(source, file)
            file.flush()
            os.fsync(file.fileno())
    new.replace(path)
    new.unlink(missing_ok=True)  # of two names of one file, `replace` leaves both


def _settle(folder: Path) -> None:
    """The names in a folder, too, are on the disk only when they were told to be; Windows has no such thing."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
