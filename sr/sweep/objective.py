"""Read the objectives of a sweep from the summaries of its runs: a metric of the best checkpoint, or a cost of the run."""

from pathlib import Path
from typing import Any, Literal

from hydra.utils import get_class

from sr.metric.key import MetricKey
from sr.record.result import TrainingResult, read_run_result
from sr.runtime.error import UserError

COSTS = ("train_seconds", "seconds")  # fields of `TrainingResult`; less is better
Direction = Literal["maximize", "minimize"]


def list_objectives(config: dict[str, Any]) -> list[str]:
    """Return the objectives of a resolved config: `sweep.objective`, or the monitored metric. Raise if one is unknown."""
    wanted = config["sweep"]["objective"] or config["monitor"]
    names = [str(name) for name in (wanted if isinstance(wanted, list) else [wanted])]
    known = ("psnr", "ssim", *_list_metrics(config), *COSTS)
    for name in names:
        if _parse_measure(name) not in known:
            raise UserError(
                f"sweep.objective={name}: expected one of {', '.join(known)}, or another metric by metric/also"
            )
    return names


def find_direction(name: str, config: dict[str, Any]) -> Direction:
    """Return whether a higher or a lower value of an objective is better."""
    metrics = _list_metrics(config)
    is_lower_better = name in COSTS or metrics.get(_parse_measure(name)) == "lower"
    return "minimize" if is_lower_better else "maximize"


def read_values(folder: Path, names: list[str]) -> list[float] | None:
    """Return the objectives of a run that has finished; None if it has not, or if one is missing."""
    result = read_run_result(folder)
    if not isinstance(result, TrainingResult) or result.status != "FINISHED":
        return None
    values = [_read_value(result, name) for name in names]
    return None if None in values else values


def _read_value(result: TrainingResult, name: str) -> float | None:
    if name in COSTS:
        return getattr(result, name)
    for text, value in result.metrics.items():
        key = MetricKey.parse(text) if text.startswith("best/") and text != "best/step" else None
        if key and name in (key.measure, str(key._replace(checkpoint=""))):
            return value
    return None


def _parse_measure(name: str) -> str:
    return name.rpartition("/")[2]


def _list_metrics(config: dict[str, Any]) -> dict[str, str]:
    """Return the further metrics of the protocol with the direction that is better."""
    also = config["metric"].get("also") or {}
    classes = {name: get_class(node["_target_"]) for name, node in also.items()}
    return {getattr(metric, "label", None) or name: metric.better for name, metric in classes.items()}
