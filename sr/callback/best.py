"""Which step of a training is the best."""

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
    """Knows the best step by `monitor` and the best by `monitor_also`, and stops a training that gets no better.

    A run that goes on keeps its best steps. One that begins with another's checkpoint takes over the best files beside
    it, in the folder `inherited`, unless they are later than that checkpoint. Either begins with none where other
    pictures are measured now, or in another way.
    """

    def __init__(self, folder: Path, monitor: str, config: dict[str, Any], patience: int | None = None,
                 inherited: Path | None = None) -> None:  # fmt: skip
        self.folder, self.patience, self.config = folder, patience, config
        self._inherited = inherited
        self._waited = 0  # validations since the best one
        first = config["data"]["val"][0] if config["data"]["val"] else None
        self._set = SetKey("val", Path(first).name if first else "")
        self.key = self._parse("monitor", monitor)
        self.also: MetricKey | None = None  # of monitor_also what `key` is of monitor; known at the first validation
        self.second = StepMetrics()  # by `also` what `module.best` is by `key`
        self.measured: dict[str, str] = {}  # digests of the validation sets: what is in them, and how it is measured
        self.is_comparable = True  # whether these are the checkpoint's: numbers of others are no measure
        self.better: list[Path] = []  # the best files that the last validation has outdone

    @property
    def best(self) -> Path:
        """Where the best checkpoint is, or will be."""
        return self.folder / checkpoint_files.BEST

    @property
    def best_also(self) -> Path | None:
        """Where the best by `also` is, or will be, named by that metric: `best_spectrum.ckpt`."""
        return self.folder / checkpoint_files.name_best(self.also.measure) if self.also else None

    def list_files(self) -> list[Path]:
        """The files that are there, the best first."""
        return [
            path for path in (self.best, self.best_also, self.folder / checkpoint_files.LAST) if path and path.exists()
        ]

    def on_save_checkpoint(self, trainer: Trainer, module: SRModule, checkpoint: dict[str, Any]) -> None:
        best = {
            "best": module.best.to_plain(),
            "second": self.second.to_plain(),
            "also": str(self.also) if self.also else None,
            "waited": self._waited,
        }
        checkpoint.setdefault(KEY, {}).update(best, measured=self.measured)

    def on_load_checkpoint(self, trainer: Trainer, module: SRModule, checkpoint: dict[str, Any]) -> None:
        entry = checkpoint[KEY]
        self.is_comparable = _of_first(trainer, entry.get("measured", self.measured) == self.measured)
        if not self.is_comparable:
            self._anew(trainer, checkpoint["global_step"])
            return
        self.also = MetricKey.parse(entry["also"]) if entry.get("also") else None
        there = self._there(checkpoint["global_step"]) if trainer.is_global_zero else {}  # the others have no folder
        names = _of_first(trainer, list(there))
        if self.best.name in names:
            module.best, self._waited = StepMetrics.from_plain(entry["best"]), entry["waited"]
        if self.best_also and self.best_also.name in names:
            self.second = StepMetrics.from_plain(entry["second"])
        if self._inherited:
            for name, path in there.items():
                link_file(path, self.folder / name)
        if self.patience and self._waited >= self.patience and self._inherited is None:
            trainer.should_stop = True  # it was stopped then, and only its end is missing

    def _anew(self, trainer: Trainer, step: int) -> None:
        """The best steps by other validation sets are kept under a name of their own, and are the best no more."""
        if not trainer.is_global_zero:
            return
        print(f"resume: other validation sets, or LR made otherwise, than until step {step}: the best is sought anew")
        for path in checkpoint_files.list_best(self.folder):
            path.replace(checkpoint_files.name_superseded(path, step))

    def _there(self, step: int) -> dict[str, Path]:
        """The best files that a training at this step goes on with."""
        folder = self._inherited or self.folder
        found = [folder / path.name for path in (self.best, self.best_also) if path]
        found = [path for path in found if path.exists()]
        if self._inherited:
            found = [path for path in found if read_weights(path)["global_step"] <= step]
        return {path.name: path for path in found}

    def on_validation_end(self, trainer: Trainer, module: SRModule) -> None:
        self._know(module)
        if trainer.sanity_checking:  # before the first step there is nothing worth keeping
            return
        better = _better(module, self.key, module.best)
        better_also = self.also is not None and _better(module, self.also, self.second)
        self.better = [self.best] * better + [self.best_also] * better_also
        counted = {key: value for key, value in module.metrics.items() if key.stage == "val" and not key.weights}
        counted = StepMetrics(trainer.global_step, counted)
        self._waited = 0 if better else self._waited + module.may_become_best
        module.best = counted if better else module.best
        self.second = counted if better_also else self.second
        if self.patience and self._waited >= self.patience and not trainer.should_stop:
            trainer.should_stop = True
            print(f"step {trainer.global_step}: no better {self.key} in {self.patience} validations, so training stops")

    def _know(self, module: SRModule) -> None:
        """Find the second metric among those that are measured; raises where one is not."""
        known = sorted(key for key in module.metrics if not key.weights)
        also = self.config.get("monitor_also")
        if also == "auto":
            names = module.metric.perceptual_names if "adversarial" in self.config["model"] else []
            also = next((name for name in names if self._set.metric(name) in {*known} - {self.key}), None)
        also = None if also is None else self._parse("monitor_also", also)
        self.second = self.second if also == self.also else StepMetrics()  # of a resumed run, by what it watched there
        self.also = also
        for dial, key in (("monitor", self.key), ("monitor_also", self.also)):
            if key is not None and key not in known:
                raise UserError(f"{dial}={key}: no such metric; there are {', '.join(map(str, known))}")

    def _parse(self, option: str, name: str) -> MetricKey:
        """Return the metric that an option names: in full, or by its measure on the first validation set."""
        if "/" not in name:
            return self._set.metric(name)
        try:
            return MetricKey.parse(name)
        except ValueError:
            raise UserError(f"{option}={name}: expected a metric, such as psnr or {self._set.metric('psnr')}") from None


def _of_first(trainer: Trainer, value: Any) -> Any:
    """What the first of several processes knows."""
    return value if trainer.world_size == 1 else trainer.strategy.broadcast(value)


def _better(module: SRModule, key: MetricKey, best: StepMetrics) -> bool:
    sign = module.metric.sign(key.measure)
    return module.may_become_best and sign * module.metrics[key] > sign * best.values.get(key, -sign * math.inf)
