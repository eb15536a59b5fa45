"""What every rule of the watch is: it looks at the signals of each step, or at the pictures of a validation, and names
what goes wrong in one line."""

from collections import deque
from collections.abc import Iterator, Mapping
from statistics import fmean
from typing import Any, ClassVar

from torch import Tensor


class Rule:
    """One failure. Answers as long as it lasts; who asks decides how often to tell of it."""

    advice: str  # what to turn, in the words that are typed
    signals: ClassVar[tuple[str, ...]] = ()  # what `step` looks at, by their names in `module.signals`

    def start(self, game: object | None) -> None:
        """Before the first step: what is played, `model/adversarial`; None of a net that learns alone."""

    def observe_step(self, step: int, signals: Mapping[str, float]) -> str | None:
        """After each step of the generator, with those of `signals` that there were: what is seen, where it is wrong."""

    def observe_images(self, lr: Tensor, sr: Tensor, hr: Tensor) -> None:
        """Of a validation: float 0…1, `[B, C, h, w]` and twice `[B, C, s·h, s·w]`; the result may leave 0…1."""

    def verdict(self) -> str | None:
        """At the validation's end: what was seen in its pictures, where it is wrong. Forgets them."""

    def state_dict(self) -> dict[str, Any]:
        """What answers after this step, or validation, depend on, plain: for a run that is resumed."""
        return {
            name: [dict(signals) for signals in part] for name, part in vars(self).items() if isinstance(part, Window)
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The way back."""
        for name, steps in state.items():
            for signals in steps:
                getattr(self, name).take(signals)


class Window:
    """The last `length` steps of some signals."""

    def __init__(self, length: int) -> None:
        self._kept: deque[Mapping[str, float]] = deque(maxlen=length)

    def take(self, signals: Mapping[str, float]) -> bool:
        """One step more; whether there are `length` now."""
        self._kept.append(signals)
        return len(self) == self._kept.maxlen

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[Mapping[str, float]]:
        return iter(self._kept)

    def values(self, name: str) -> list[float]:
        """Of the steps that had this signal."""
        return [signals[name] for signals in self._kept if name in signals]

    def mean(self, name: str) -> float:
        """Over the steps that had this signal."""
        return fmean(self.values(name))
