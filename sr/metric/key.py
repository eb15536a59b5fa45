"""Names of metrics, such as `val/Set5/psnr`. Only this module composes or parses them.

A checkpoint, a journal and `summary.json` hold the names as strings (`name_metrics`, `parse_metrics`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple, Self

if TYPE_CHECKING:
    from sr.metric.protocol import Protocol  # imports torch, and sr.compare does without

Stage = Literal["val", "test"]
Weights = Literal["", "raw", "bicubic"]  # "": those that count, averaged if there is an average; raw: the last step's
LR_LENGTH = 60  # characters of a column that say how LR was made
_NAME = re.compile(
    r"((?P<checkpoint>best\w*)/)?(?P<stage>val|test)/(?P<set>[^/]+)/(?P<measure>[^/]+?)(_(?P<weights>raw|bicubic))?"
)


class SetKey(NamedTuple):
    """An image set that is evaluated in one stage, with one kind of weights."""

    stage: Stage
    set: str
    weights: Weights = ""

    def __str__(self) -> str:
        return f"{self.stage}/{self.set}"

    def metric(self, measure: str) -> "MetricKey":
        """Return the key of one of this set's metrics."""
        return MetricKey(self.stage, self.set, measure, self.weights)


class MetricKey(NamedTuple):
    """The name of one metric. `checkpoint` is `best` or `best_spectrum` for the value at that checkpoint's step."""

    stage: Stage
    set: str
    measure: str
    weights: Weights = ""
    checkpoint: str = ""

    @classmethod
    def parse(cls, name: str) -> Self:
        """Return the key that `str()` made `name` of; raise `ValueError` if it is no such name."""
        found = _NAME.fullmatch(name)
        if found is None:
            raise ValueError(f"{name!r}: expected the name of a metric, such as val/Set5/psnr")
        return cls(found["stage"], found["set"], found["measure"], found["weights"] or "", found["checkpoint"] or "")

    def __str__(self) -> str:
        before = f"{self.checkpoint}/" if self.checkpoint else ""
        after = f"_{self.weights}" if self.weights else ""
        return f"{before}{self.stage}/{self.set}/{self.measure}{after}"

    def column(self, protocol: "Protocol", lr: str) -> str:
        """Return the name in a tracker, where runs of different protocols share their columns: `val/Set5 x2 edsr/psnr`.

        `lr` says how the set's LR images are made; it is part of the name unless it is the standard way.
        """
        made = "" if lr == protocol.standard_lr else " " + re.sub(r"\W+", "-", lr).strip("-")[:LR_LENGTH]
        scale = f" x{protocol.scale}" if protocol.scale else ""
        return str(self._replace(set=f"{self.set}{scale} {protocol.name}{made}"))


@dataclass(frozen=True)
class StepMetrics:
    """The metrics of one training step, such as the best one; empty before there is one."""

    step: int = 0
    values: dict[MetricKey, float] = field(default_factory=dict)

    @classmethod
    def from_plain(cls, plain: Mapping[str, float]) -> Self:
        """Return what `to_plain()` wrote."""
        return cls(int(plain.get("step", 0)), parse_metrics({name: plain[name] for name in plain if name != "step"}))

    def to_plain(self, checkpoint: str = "") -> dict[str, float]:
        """Return the values by name and `step`, `{"val/Set5/psnr": 30.1, "step": 900}`, with the checkpoint before each."""
        if not self.values:
            return {}
        values = {key._replace(checkpoint=checkpoint): value for key, value in self.values.items()}
        return name_metrics(values) | {f"{checkpoint}/step" if checkpoint else "step": self.step}


def name_metrics(metrics: Mapping[MetricKey, float]) -> dict[str, float]:
    """Return the values by the names of their metrics."""
    return {str(key): value for key, value in metrics.items()}


def parse_metrics(metrics: Mapping[str, float]) -> dict[MetricKey, float]:
    """Return the values by the keys of their metrics."""
    return {MetricKey.parse(name): value for name, value in metrics.items()}
