"""The watch: rules look at every step's signals and every validation's pictures, and name what goes wrong while it does."""

import sr.runtime.torchvision_shim  # noqa: F401  before Lightning and torchmetrics

import contextlib
import copy
import sys
from collections.abc import Mapping
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor
from tqdm import tqdm

from sr.alarm.rule import Rule
from sr.model.evaluation import EvaluationOutput
from sr.model.module import SRModule
from sr.track.tracker import Tracker

LOOK = 50  # steps whose signals are fetched from the device at once
REST = 1000  # steps without it, after which a failure of the signals that comes again is told of again
EARLY = 0.1  # of all steps: what a net that has hardly learned looks like is no failure
IN_A_ROW = 3  # validations
SIDE = 384  # HR pixels: rules see the middle of a picture


class AlarmMonitor(Callback):
    """Tells of each failure once, when it begins: a line in the terminal and a tag `sr.alarm.NAME` of the run. `told` has
    what was said, by name. A failure in pictures has to be there at three validations in a row, or at the last: nets that
    learn fast have it now and then.

    Of several processes the first one looks, at its own share.
    """

    def __init__(self, tracker: Tracker, rules: Mapping[str, Rule]) -> None:
        self.tracker, self.rules = tracker, dict(rules)
        self.told: dict[str, list[str]] = {}
        self._wanted = sorted({name for rule in self.rules.values() for name in rule.signals})
        self._steps: list[tuple[int, dict[str, Tensor | float]]] = []  # not yet looked at
        self._seen = 0
        self._last: dict[str, int] = {}  # the last step at which a failure of the signals was seen
        self._doubted: dict[str, int] = {}  # failures in the last validation's pictures, and at how many in a row
        self._lasting: set[str] = set()  # those of them that were told of

    @property
    def state_key(self) -> str:
        """The key of `state_dict()` in a checkpoint: the name that this class had when the first ones were written."""
        return "Alarms"

    def state_dict(self) -> dict[str, Any]:
        """All that later answers depend on; steps that were not looked at are looked at first."""
        self._look()
        known = {"told": self.told, "last": self._last, "doubted": self._doubted, "lasting": sorted(self._lasting)}
        return copy.deepcopy(known | {"rules": {name: rule.state_dict() for name, rule in self.rules.items()}})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Rules that were not there then begin now; what others told stays told."""
        self.told, self._last, self._doubted = state["told"], state["last"], state["doubted"]
        self._lasting = set(state["lasting"])
        for name in self.rules.keys() & state["rules"].keys():
            self.rules[name].load_state_dict(state["rules"][name])

    def on_train_start(self, trainer: Trainer, module: SRModule) -> None:
        self._seen = trainer.global_step
        for rule in self.rules.values():
            rule.start(getattr(module, "adversarial", None))

    def on_train_batch_end(self, trainer: Trainer, module: SRModule, *_: object) -> None:
        if not self._wanted or not trainer.is_global_zero or trainer.global_step == self._seen:
            return
        self._seen = trainer.global_step
        self._steps.append((self._seen, {k: module.signals[k] for k in self._wanted if k in module.signals}))
        if len(self._steps) >= LOOK:
            self._look()

    def on_validation_start(self, *_: object) -> None:
        self._look()

    def on_train_end(self, *_: object) -> None:
        self._look()

    def on_exception(self, *_: object) -> None:
        with contextlib.suppress(RuntimeError):  # of a device that is lost: what has happened is told by others
            self._look()

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        module: SRModule,
        shown: EvaluationOutput,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if trainer.is_global_zero and self._judges(trainer, module):
            for rule in self.rules.values():
                rule.observe_images(*_middle(shown))

    def on_validation_end(self, trainer: Trainer, module: SRModule) -> None:
        if not self._judges(trainer, module):
            return
        found = {name: seen for name, rule in self.rules.items() if (seen := rule.verdict())}
        last = trainer.global_step >= module.total_steps
        self._doubted = {name: self._doubted.get(name, 0) + 1 for name in found}
        sure = [name for name in found if last or self._doubted[name] >= IN_A_ROW]
        for name in sure:
            if name not in self._lasting:
                self._tell(name, trainer.global_step, found[name])
        self._lasting = set(sure)

    def _judges(self, trainer: Trainer, module: SRModule) -> bool:
        """Not before a net has learned something, nor a generator before it plays."""
        return (
            not trainer.sanity_checking and module.may_become_best and trainer.global_step >= EARLY * module.total_steps
        )

    def _look(self) -> None:
        for step, signals in _fetched(self._steps):
            for name, rule in self.rules.items():
                seen = rule.observe_step(step, signals)
                if seen and step - self._last.get(name, -REST) >= REST:
                    self._tell(name, step, seen)
                if seen:
                    self._last[name] = step
        self._steps.clear()

    def _tell(self, name: str, step: int, seen: str) -> None:
        tqdm.write(f"ALARM {name} at step {step}: {seen}; {self.rules[name].advice}", file=sys.stderr)
        self.told.setdefault(name, []).append(f"step {step}: {seen}")
        self.tracker.set_tag(f"sr.alarm.{name}", "; ".join(self.told[name]))


def _fetched(steps: list[tuple[int, dict[str, Tensor | float]]]) -> list[tuple[int, dict[str, float]]]:
    """The same with numbers, after one wait for the device."""
    tensors = [value for _, signals in steps for value in signals.values() if isinstance(value, Tensor)]
    numbers = iter(torch.stack([tensor.float() for tensor in tensors]).tolist() if tensors else [])
    return [
        (step, {name: next(numbers) if isinstance(value, Tensor) else value for name, value in signals.items()})
        for step, signals in steps
    ]


def _middle(shown: EvaluationOutput) -> EvaluationOutput:
    """Cut on LR's grid: failures of a net are everywhere, and large pictures take long."""
    scale = shown.hr.shape[-1] // shown.lr.shape[-1]
    height, width = (min(side, SIDE // scale) for side in shown.lr.shape[-2:])
    top, left = (shown.lr.shape[-2] - height) // 2, (shown.lr.shape[-1] - width) // 2
    return EvaluationOutput(
        *(
            image[..., top * k : (top + height) * k, left * k : (left + width) * k]
            for image, k in ((shown.lr, 1), (shown.sr, scale), (shown.hr, scale))
        )
    )
