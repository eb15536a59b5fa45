"""Select the best step of a training, by one metric and by a second one, and stop a training that no longer improves."""

import sr.runtime.torchvision_shim  # noqa: F401  before Lightning and torchmetrics

import math
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, Trainer

from sr.callback.monitor import MonitoredMetrics
from sr.checkpoint.atomic import link_file
from sr.checkpoint.load import KEY
from sr.metric.key import MetricKey, StepMetrics
from sr.model.module import SRModule
from sr.pretrained.state_dict import read_weights
from sr.record import checkpoint_files


class BestCheckpoint(Callback):
    """Records the best step by the first monitored metric in `module.best`, the best by the second in `second_best`.

    After `patience` validations without a better value of the first the training stops; None: never. `CheckpointWriter`
    writes the files in `improved`.

    A resumed run continues with its best steps. A run that begins with the checkpoint of another run, in the folder
    `parent_folder`, takes over the best checkpoints next to it, unless they are of later steps. Both start without best
    steps if the validation images differ from those of the checkpoint, or the way in which they are evaluated.
    """

    def __init__(
        self,
        folder: Path,
        monitored: MonitoredMetrics,
        patience: int | None = None,
        parent_folder: Path | None = None,
    ) -> None:
        self.folder, self.patience = folder, patience
        self._parent_folder = parent_folder
        self.key, self.second_key = monitored
        self.second_best = StepMetrics()  # by `second_key`, as `module.best` is by `key`
        self.improved: list[Path] = []  # the best files that the last validation has surpassed
        self.set_digests: dict[str, str] = {}  # by validation set: its images, and how they are evaluated
        self.is_comparable = True  # False: the metrics in the checkpoint are of other validation images
        self._validations_since_best = 0

    @property
    def path(self) -> Path:
        """The path of the best checkpoint, which may not exist yet."""
        return self.folder / checkpoint_files.BEST

    @property
    def second_path(self) -> Path | None:
        """The path of the best checkpoint by the second metric, `best_spectrum.ckpt`; None if there is no such metric."""
        return self.folder / checkpoint_files.name_best(self.second_key.measure) if self.second_key else None

    def list_files(self) -> list[Path]:
        """Return the checkpoints that exist, the best first."""
        paths = (self.path, self.second_path, self.folder / checkpoint_files.LAST)
        return [path for path in paths if path and path.exists()]

    def on_save_checkpoint(self, trainer: Trainer, module: SRModule, checkpoint: dict[str, Any]) -> None:
        checkpoint.setdefault(KEY, {}).update(
            best=module.best.to_plain(),
            second=self.second_best.to_plain(),
            also=str(self.second_key) if self.second_key else None,
            waited=self._validations_since_best,
            measured=self.set_digests,
        )

    def on_load_checkpoint(self, trainer: Trainer, module: SRModule, checkpoint: dict[str, Any]) -> None:
        entry, step = checkpoint[KEY], checkpoint["global_step"]
        is_equal = entry.get("measured", self.set_digests) == self.set_digests
        self.is_comparable = _broadcast(trainer, is_equal)  # only the main process has digests
        if not self.is_comparable:
            if trainer.is_global_zero:
                self._reset(step)
            return
        is_same_second = self.second_key is not None and entry.get("also") == str(self.second_key)
        files = self._list_best_files(step, is_same_second) if trainer.is_global_zero else []  # others have no folder
        names = _broadcast(trainer, [path.name for path in files])
        if self.path.name in names:
            module.best, self._validations_since_best = StepMetrics.from_plain(entry["best"]), entry["waited"]
        if is_same_second and self.second_path.name in names:
            self.second_best = StepMetrics.from_plain(entry["second"])
        if self._parent_folder:
            for path in files:
                link_file(path, self.folder / path.name)
        elif self.patience and self._validations_since_best >= self.patience:
            trainer.should_stop = True  # this run had stopped before, and only its end is missing

    def on_validation_end(self, trainer: Trainer, module: SRModule) -> None:
        if trainer.sanity_checking:  # the untrained net is never the best
            return
        is_best = _is_better(module, self.key, module.best)
        is_second_best = self.second_key is not None and _is_better(module, self.second_key, self.second_best)
        self.improved = [self.path] * is_best + [self.second_path] * is_second_best
        values = {key: value for key, value in module.metrics.items() if key.stage == "val" and not key.weights}
        metrics = StepMetrics(trainer.global_step, values)
        self._validations_since_best = 0 if is_best else self._validations_since_best + module.may_become_best
        module.best = metrics if is_best else module.best
        self.second_best = metrics if is_second_best else self.second_best
        if self.patience and self._validations_since_best >= self.patience and not trainer.should_stop:
            trainer.should_stop = True
            print(f"step {trainer.global_step}: no better {self.key} in {self.patience} validations, so training stops")

    def _reset(self, step: int) -> None:
        """Rename the best checkpoints by other validation images than those of now."""
        print(f"resume: the validation images or their LR have changed since step {step}; the best checkpoint is reset")
        for path in checkpoint_files.list_best(self.folder):
            path.replace(checkpoint_files.name_superseded(path, step))

    def _list_best_files(self, step: int, has_second: bool) -> list[Path]:
        """Return the best checkpoints of this run or its parent that a training at `step` continues with.

        Without `has_second`, the second one was selected by another metric than now.
        """
        folder = self._parent_folder or self.folder
        paths = [folder / path.name for path in (self.path, self.second_path if has_second else None) if path]
        paths = [path for path in paths if path.exists()]
        if self._parent_folder:
            paths = [path for path in paths if read_weights(path)["global_step"] <= step]
        return paths


def _broadcast(trainer: Trainer, value: Any) -> Any:
    """Return the value of the main process in all processes."""
    return value if trainer.world_size == 1 else trainer.strategy.broadcast(value)


def _is_better(module: SRModule, key: MetricKey, best: StepMetrics) -> bool:
    sign = module.metric.sign(key.measure)
    return module.may_become_best and sign * module.metrics[key] > sign * best.values.get(key, -sign * math.inf)
