"""The interface of alarm rules: each looks at the signals of every step, or at the images of a validation, and describes a
failure of the training in one line."""

from collections import deque
from collections.abc import Iterator, Mapping
from statistics import fmean
from typing import Any, ClassVar

from torch import Tensor, nn


class Rule:
    """Detects one kind of failure. It reports as long as the failure lasts; `sr.callback.alarms` decides how often that
    is shown."""

    # What may help, the best first, with options as they are typed; `sr.callback.alarms` leaves out what a run does not have.
    advice: tuple[str, ...]
    signals: ClassVar[tuple[str, ...]] = ()  # the names in `module.signals` that `observe_step` needs

    def start(self, adversarial: object | None, net: nn.Module | None = None) -> None:
        """Prepare for a training of `net`; `adversarial` is the loss of `model/adversarial`, or None without one."""

    def observe_step(self, step: int, signals: Mapping[str, float]) -> str | None:
        """Return a description of the failure after this step of the net, or None; `signals` are those that it logged."""

    def observe_images(self, lr: Tensor, sr: Tensor, hr: Tensor) -> None:
        """Add images of a validation: float 0…1, `[B, C, h, w]` and twice `[B, C, s·h, s·w]`; `sr` may be outside 0…1."""

    def verdict(self) -> str | None:
        """Return a description of the failure in the images of this validation, or None; discards the images."""

    def state_dict(self) -> dict[str, Any]:
        """Return as plain values all that later results depend on, for a resumed run."""
        return {
            name: [dict(signals) for signals in part]
            for name, part in vars(self).items()
            if isinstance(part, SignalWindow)
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state returned by `state_dict()`."""
        for name, steps in state.items():
            for signals in steps:
                getattr(self, name).add(signals)


class SignalWindow:
    """The signals of the last `length` steps."""

    def __init__(self, length: int) -> None:
        self._steps: deque[Mapping[str, float]] = deque(maxlen=length)

    @property
    def is_full(self) -> bool:
        """True once `length` steps were added."""
        return len(self._steps) == self._steps.maxlen

    def add(self, signals: Mapping[str, float]) -> None:
        """Add the signals of one step."""
        self._steps.append(signals)

    def __len__(self) -> int:
        return len(self._steps)

    def __iter__(self) -> Iterator[Mapping[str, float]]:
        return iter(self._steps)

    def values(self, name: str) -> list[float]:
        """Return a signal of all steps that have it."""
        return [signals[name] for signals in self._steps if name in signals]

    def mean(self, name: str) -> float:
        """Return the mean of a signal over all steps that have it."""
        return fmean(self.values(name))
