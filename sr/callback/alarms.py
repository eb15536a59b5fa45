"""Alarms: rules check the signals of every step and the images of every validation for typical failures of a training."""

import sr.runtime.torchvision_shim  # noqa: F401  before Lightning and torchmetrics

import contextlib
import copy
import re
import sys
from collections.abc import Mapping
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor
from tqdm import tqdm

from sr.alarm.rule import Rule
from sr.config.command_line import format_value
from sr.image.batch import EvaluationOutput
from sr.model.module import SRModule
from sr.track.tracker import Tracker

CHECK_INTERVAL = 50  # steps whose signals are copied from the device at once
QUIET_STEPS = 1000  # steps without a failure after which it is reported again
MIN_PROGRESS = 0.1  # share of all steps before which a net has learned too little for its images to be checked
MIN_STEPS = 100  # steps before which it has, however short the training is
MIN_VALIDATIONS = 3  # validations in a row that show a failure in the images before it is reported
WIDTH = 80  # columns of a line
CROP_SIDE = 384  # HR pixels: rules get the center of an image


class AlarmMonitor(Callback):
    """Reports each failure once, when it begins: as a line in the terminal and as the tag `sr.alarm.NAME` of the run.

    A failure in the images has to be there at `MIN_VALIDATIONS` validations in a row, or at the last one of more than these,
    because nets that learn fast show one now and then. `messages` holds what was reported, by name of the rule. `options`
    are those of the run, dotted key -> value: only they are advised. Of several processes the main one checks its own
    share of the batch.
    """

    def __init__(self, tracker: Tracker, rules: Mapping[str, Rule], options: Mapping[str, Any] | None = None) -> None:
        self.tracker, self.rules, self.options = tracker, dict(rules), dict(options or {})
        self.messages: dict[str, list[str]] = {}
        self._signal_names = sorted({name for rule in self.rules.values() for name in rule.signals})
        self._unchecked_steps: list[tuple[int, dict[str, Tensor | float]]] = []
        self._step = 0
        self._last_failures: dict[str, int] = {}  # by rule, the last step whose signals showed a failure
        self._image_failures: dict[str, int] = {}  # by rule, validations in a row whose images showed a failure
        self._reported_image_failures: set[str] = set()  # those among them that were reported
        self._checked_validations = 0

    @property
    def state_key(self) -> str:
        """The key of `state_dict()` in a checkpoint: the name that this class had when the first ones were written."""
        return "Alarms"

    def state_dict(self) -> dict[str, Any]:
        """Return all that later alarms depend on; signals that were not checked yet are checked first."""
        self._check_signals()
        state = {
            "told": self.messages,
            "last": self._last_failures,
            "doubted": self._image_failures,
            "lasting": sorted(self._reported_image_failures),
            "checked": self._checked_validations,
        }
        return copy.deepcopy(state | {"rules": {name: rule.state_dict() for name, rule in self.rules.items()}})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state; messages of rules that no longer exist remain, and new rules start without a state."""
        self.messages, self._last_failures, self._image_failures = state["told"], state["last"], state["doubted"]
        self._reported_image_failures = set(state["lasting"])
        self._checked_validations = state.get("checked", 0)
        for name in self.rules.keys() & state["rules"].keys():
            self.rules[name].load_state_dict(state["rules"][name])

    def on_train_start(self, trainer: Trainer, module: SRModule) -> None:
        self._step = trainer.global_step
        for rule in self.rules.values():
            rule.start(getattr(module, "adversarial", None), getattr(module, "net", None))

    def on_train_batch_end(self, trainer: Trainer, module: SRModule, *_: object) -> None:
        if not self._signal_names or not trainer.is_global_zero or trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        signals = {name: module.signals[name] for name in self._signal_names if name in module.signals}
        self._unchecked_steps.append((self._step, signals))
        if len(self._unchecked_steps) >= CHECK_INTERVAL:
            self._check_signals()

    def on_validation_start(self, *_: object) -> None:
        self._check_signals()

    def on_train_end(self, *_: object) -> None:
        self._check_signals()

    def on_exception(self, *_: object) -> None:
        with contextlib.suppress(RuntimeError):  # a lost device, which others report
            self._check_signals()

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        module: SRModule,
        output: EvaluationOutput,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if trainer.is_global_zero and self._checks_images(trainer, module):
            images = _crop_center(output)
            if module.color == "bands":  # rules know RGB and gray
                images = tuple(image.mean(dim=1, keepdim=True) for image in images)
            if images[-1].isnan().any():  # pixels without data
                return
            for rule in self.rules.values():
                rule.observe_images(*images)

    def on_validation_end(self, trainer: Trainer, module: SRModule) -> None:
        if not self._checks_images(trainer, module):
            return
        failures = {name: message for name, rule in self.rules.items() if (message := rule.verdict())}
        self._checked_validations += 1
        is_last = trainer.global_step >= module.total_steps and self._checked_validations >= MIN_VALIDATIONS
        self._image_failures = {name: self._image_failures.get(name, 0) + 1 for name in failures}
        persistent = [name for name in failures if is_last or self._image_failures[name] >= MIN_VALIDATIONS]
        for name in persistent:
            if name not in self._reported_image_failures:
                self._report(name, trainer.global_step, failures[name])
        self._reported_image_failures = set(persistent)

    def format_advice(self) -> list[str]:
        """Return a line for each rule that reported a failure: what to change, in options that this run has."""
        lines = []
        for name, messages in self.messages.items():
            line = f"ALARM       {name} at {messages[-1].partition(':')[0]}: "
            advice = (
                [text for text in self.rules[name].advice if self._is_applicable(text)] if name in self.rules else []
            )
            line += advice[0] if advice else messages[-1].partition(": ")[2]
            for text in advice[1:]:
                line += f", {text}" if len(f"{line}, {text}") <= WIDTH else ""
            lines.append(line)
        return lines

    def _is_applicable(self, advice: str) -> bool:
        """Return True unless the advice names an option that this run does not have, or the value that it has."""
        for name, value in re.findall(r"((?:model|trainer)\.[\w.]+\w)(?:=(\S+))?", advice):
            if name not in self.options or (value and format_value(self.options[name]) == value):
                return False
        return True

    def _checks_images(self, trainer: Trainer, module: SRModule) -> bool:
        """Return True once the net has learned something and, of a GAN, the adversarial training has begun."""
        has_learned = trainer.global_step >= max(MIN_STEPS, MIN_PROGRESS * module.total_steps)
        return not trainer.sanity_checking and module.may_become_best and has_learned

    def _check_signals(self) -> None:
        for step, signals in _fetch_signals(self._unchecked_steps):
            for name, rule in self.rules.items():
                message = rule.observe_step(step, signals)
                if message and step - self._last_failures.get(name, -QUIET_STEPS) >= QUIET_STEPS:
                    self._report(name, step, message)
                if message:
                    self._last_failures[name] = step
        self._unchecked_steps.clear()

    def _report(self, name: str, step: int, message: str) -> None:
        tqdm.write(f"ALARM {name} at step {step}: {message}", file=sys.stderr)
        self.messages.setdefault(name, []).append(f"step {step}: {message}")
        self.tracker.set_tag(f"sr.alarm.{name}", "; ".join(self.messages[name]))


def _fetch_signals(steps: list[tuple[int, dict[str, Tensor | float]]]) -> list[tuple[int, dict[str, float]]]:
    """Return the steps with numbers instead of tensors, after one wait for the device."""
    tensors = [value for _, signals in steps for value in signals.values() if isinstance(value, Tensor)]
    numbers = iter(torch.stack([tensor.float() for tensor in tensors]).tolist() if tensors else [])
    return [
        (step, {name: next(numbers) if isinstance(value, Tensor) else value for name, value in signals.items()})
        for step, signals in steps
    ]


def _crop_center(output: EvaluationOutput) -> EvaluationOutput:
    """Cut the center out of large images, on LR's pixel grid: a net fails everywhere, and large images take long."""
    scale = output.hr.shape[-1] // output.lr.shape[-1]
    height, width = (min(side, CROP_SIDE // scale) for side in output.lr.shape[-2:])
    top, left = (output.lr.shape[-2] - height) // 2, (output.lr.shape[-1] - width) // 2
    return EvaluationOutput(
        *(
            image[..., top * k : (top + height) * k, left * k : (left + width) * k]
            for image, k in ((output.lr, 1), (output.sr, scale), (output.hr, scale))
        )
    )
