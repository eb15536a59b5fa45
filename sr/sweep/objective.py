"""Read the objectives of a sweep from the summaries of its runs: a metric of the best checkpoint, or a cost of the run."""

import math
from pathlib import Path, PurePath
from typing import Any, Literal, get_args

from sr.config.value import format_value
from sr.metric.key import MetricKey
from sr.record.result import TrainingResult, read_run_result
from sr.runtime.error import UserError, suggest_nearest
from sr.runtime.option_types import Cost

COSTS = {  # less is better -> field of `TrainingResult`
    "parameters": "parameters",
    "multiply_adds": "multiply_adds_1280x720",
    "ms_per_image": "ms_per_image",
    "ntire_score": "ntire_score",
    "train_seconds": "train_seconds",
    "seconds": "seconds",
}
Direction = Literal["maximize", "minimize"]


def find_directions(config: dict[str, Any]) -> dict[str, Direction]:
    """Return the objectives of a resolved config, and whether a higher or a lower value of each is better.

    They are those of `sweep.objective`, or the monitored metric. Raise if one is unknown.
    """
    wanted = config["sweep"]["objective"] or config["monitor"]
    names = [str(name) for name in (wanted if isinstance(wanted, list) else [wanted])]
    if len(set(names)) < len(names):
        raise UserError(f"sweep.objective={format_value(wanted)}: expected each objective once (found one twice)")
    metrics: dict[str, Direction] = {"psnr": "maximize", "ssim": "maximize"}
    if any(name not in COSTS and _parse_measure(name) not in metrics for name in names):
        metrics |= _find_further_metrics(config)
    for name in names:
        if name not in COSTS:
            _check_metric(name, list(metrics), config)
    return {name: "minimize" if name in COSTS else metrics[_parse_measure(name)] for name in names}


def list_measured_costs(objectives: list[str]) -> list[str]:
    """Return the costs that a run measures only if its option `cost` asks for them."""
    return [name for name in objectives if name in get_args(Cost)]


def read_values(folder: Path, names: list[str]) -> list[float] | None:
    """Return the objectives of a run that has finished; None if it has not, or if one is missing or NaN."""
    result = read_run_result(folder)
    if not isinstance(result, TrainingResult) or result.status != "FINISHED":
        return None
    values = [_read_value(result, name) for name in names]
    return None if any(value is None or math.isnan(value) for value in values) else values


def _check_metric(name: str, known: list[str], config: dict[str, Any]) -> None:
    """Raise unless each run measures this metric at its best checkpoint: `psnr`, or in full, `val/Set5/psnr`."""
    typed = f"sweep.objective={name}"
    if _parse_measure(name) not in known:
        hint = suggest_nearest(name, [*known, *COSTS])
        raise UserError(
            f"{typed}: expected one of {', '.join([*known, *COSTS])}, or another metric by metric/also.{hint}"
        )
    sets = config["data"].get("val")
    if sets is None:  # data of the user's own
        return
    if not sets:
        raise UserError(f"{typed}: with data.val=[] nothing is validated; give data.val=[…], or a cost: train_seconds")
    full_names = [f"val/{PurePath(str(part)).name}/{measure}" for part in sets for measure in known]
    if "/" in name and name not in full_names:
        raise UserError(
            f"{typed}: expected a metric of validation, in full such as {full_names[0]} (data.val={format_value(sets)})"
        )


def _read_value(result: TrainingResult, name: str) -> float | None:
    if name in COSTS:
        return getattr(result, COSTS[name])
    for text, value in result.metrics.items():
        key = MetricKey.parse(text) if text.startswith("best/") and text != "best/step" else None
        if key and name in (key.measure, str(key._replace(checkpoint=""))):
            return value
    return None


def _parse_measure(name: str) -> str:
    return name.rpartition("/")[2]


def _find_further_metrics(config: dict[str, Any]) -> dict[str, Direction]:
    """Return the further metrics of the protocol by the names of their values, which may depend on their options."""
    from sr.config.build import build_part  # imports torch; some metrics load weights

    protocol = build_part(config["metric"], "metric")
    return {name: "minimize" if protocol.sign(name) < 0 else "maximize" for name in protocol.also}
