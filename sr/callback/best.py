"""Select the best step of a training, by one metric and by a second one, and stop a training that no longer improves."""

import sr.runtime.torchvision_shim  # noqa: F401  before Lightning and torchmetrics

import math
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, Trainer

from sr.checkpoint.atomic import link_file
from sr.checkpoint.load import KEY
from sr.metric.key import MetricKey, SetKey, StepMetrics
from sr.model.module import SRModule
from sr.pretrained.state_dict import read_weights
from sr.record import checkpoint_files
from sr.runtime.error import UserError


class BestCheckpoint(Callback):
    """Records the best step by `monitor` in `module.best`, and the best by `monitor_also` in `second_best`.

    After `patience` validations without a better value of `monitor` the training stops; None: never. `CheckpointWriter`
    writes the files in `improved`.

    A resumed run continues with its best steps. A run that begins with the checkpoint of another run, in the folder
    `parent_folder`, takes over the best checkpoints next to it, unless they are of later steps. Both start without best
    steps if the validation images differ from those of the checkpoint, or the way in which they are evaluated.
    """

    def __init__(
        self,
        folder: Path,
        monitor: str,
        config: dict[str, Any],
        patience: int | None = None,
        parent_folder: Path | None = None,
    ) -> None:
        self.folder, self.patience, self.config = folder, patience, config
        self._parent_folder = parent_folder
        first = config["data"]["val"][0] if config["data"]["val"] else None
        self._first_set = SetKey("val", Path(first).name if first else "")
        self.key = self._parse_metric("monitor", monitor)
        self.second_key: MetricKey | None = None  # of `monitor_also`; known from the first validation on
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
        self.second_key = MetricKey.parse(entry["also"]) if entry.get("also") else None
        files = self._list_best_files(step) if trainer.is_global_zero else []  # other processes have no folder
        names = _broadcast(trainer, [path.name for path in files])
        if self.path.name in names:
            module.best, self._validations_since_best = StepMetrics.from_plain(entry["best"]), entry["waited"]
        if self.second_path and self.second_path.name in names:
            self.second_best = StepMetrics.from_plain(entry["second"])
        if self._parent_folder:
            for path in files:
                link_file(path, self.folder / path.name)
        elif self.patience and self._validations_since_best >= self.patience:
            trainer.should_stop = True  # this run had stopped before, and only its end is missing

    def on_validation_end(self, trainer: Trainer, module: SRModule) -> None:
        self._check_metrics(module)
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

    def _list_best_files(self, step: int) -> list[Path]:
        """Return the best checkpoints of this run or its parent that a training at `step` continues with."""
        folder = self._parent_folder or self.folder
        paths = [folder / path.name for path in (self.path, self.second_path) if path]
        paths = [path for path in paths if path.exists()]
        if self._parent_folder:
            paths = [path for path in paths if read_weights(path)["global_step"] <= step]
        return paths

    def _check_metrics(self, module: SRModule) -> None:
        """Choose the second metric, and raise unless both are among those that were evaluated."""
        evaluated = sorted(key for key in module.metrics if not key.weights)
        name = self.config.get("monitor_also")
        if name == "auto":
            names = module.metric.perceptual_names if "adversarial" in self.config["model"] else []
            name = next((n for n in names if self._first_set.metric(n) in {*evaluated} - {self.key}), None)
        key = None if name is None else self._parse_metric("monitor_also", name)
        if key != self.second_key:  # at the first validation, or of a resumed run with another monitor_also
            self.second_key, self.second_best = key, StepMetrics()
        for option, key in (("monitor", self.key), ("monitor_also", self.second_key)):
            if key is not None and key not in evaluated:
                raise UserError(f"{option}={key}: no such metric; there are {', '.join(map(str, evaluated))}")

    def _parse_metric(self, option: str, name: str) -> MetricKey:
        """Return the metric that an option names: in full, or by its measure on the first validation set."""
        if "/" not in name:
            return self._first_set.metric(name)
        try:
            return MetricKey.parse(name)
        except ValueError:
            example = self._first_set.metric("psnr")
            raise UserError(f"{option}={name}: expected a metric, such as psnr or {example}") from None


def _broadcast(trainer: Trainer, value: Any) -> Any:
    """Return the value of the main process in all processes."""
    return value if trainer.world_size == 1 else trainer.strategy.broadcast(value)


def _is_better(module: SRModule, key: MetricKey, best: StepMetrics) -> bool:
    sign = module.metric.sign(key.measure)
    return module.may_become_best and sign * module.metrics[key] > sign * best.values.get(key, -sign * math.inf)
