"""The cost of the net that a run has trained: its parameters, and what the option `cost` asks for."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from sr.checkpoint.architecture import build_ntire_baseline
from sr.inference.complexity import count_parameters
from sr.inference.multiply_adds import count_multiply_adds
from sr.inference.ntire import measure_ntire_score
from sr.inference.speed import measure_speed
from sr.track.tracker import Tracker


@dataclass(frozen=True)
class NetCost:
    """The cost of one net; None where it was not asked for, or is not known."""

    parameters: int
    multiply_adds_1280x720: int | None = None  # for an output of 1280×720 pixels
    ms_per_image: float | None = None  # for the same output
    ms_per_image_protocol: dict[str, Any] = field(default_factory=dict)  # device, threads, calls …
    ntire_score: float | None = None  # `sr.inference.ntire`
    ntire_protocol: dict[str, Any] = field(default_factory=dict)


def measure_cost(net: nn.Module, config: dict[str, Any], device: torch.device) -> NetCost:
    """Return the cost of a net of a resolved config, as `sr.evaluate` counts it; the net may be on `device` afterwards."""
    wanted = config.get("cost") or []
    multiply_adds = milliseconds = None
    protocol: dict[str, Any] = {}
    if "multiply_adds" in wanted:
        multiply_adds = count_multiply_adds(net, config["channels"], config["scale"])
    if "ms_per_image" in wanted:
        milliseconds, protocol = measure_speed(net, config["color"], device)
    score = None
    if "ntire_score" in wanted:
        score = measure_ntire_score(
            net, build_ntire_baseline(config["scale"], config["channels"]), config["color"], device
        )
    ntire = {"ntire_score": score.value, "ntire_protocol": score.protocol} if score else {}
    return NetCost(count_parameters(net), multiply_adds, milliseconds, protocol, **ntire)


def log_cost(cost: NetCost, tracker: Tracker, step: int) -> None:
    """Log what was asked for, under the names of `sr.evaluate`, with their protocols as tags."""
    points = {
        "multiply_adds_1280x720": cost.multiply_adds_1280x720,
        "ms_per_image": cost.ms_per_image,
        "ntire_score": cost.ntire_score,
    }
    points = {f"cost/{name}": value for name, value in points.items() if value is not None}
    if points:
        tracker.log_points({"cost/parameters": cost.parameters, **points}, step)
    for tag, protocol in (("sr.ms_per_image", cost.ms_per_image_protocol), ("sr.ntire_score", cost.ntire_protocol)):
        if protocol:
            tracker.set_tag(tag, ", ".join(f"{k} {v}" for k, v in protocol.items()))
