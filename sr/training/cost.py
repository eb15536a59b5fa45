"""The cost of the net that a run has trained: its parameters, and what the option `cost` asks for."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from sr.inference.complexity import count_multiply_adds, count_parameters
from sr.inference.speed import measure_speed
from sr.track.tracker import Tracker


@dataclass(frozen=True)
class NetCost:
    """The cost of one net; None where it was not asked for, or is not known."""

    parameters: int
    multiply_adds_1280x720: int | None = None  # for an output of 1280×720 pixels
    ms_per_image: float | None = None  # for the same output
    ms_per_image_protocol: dict[str, Any] = field(default_factory=dict)  # device, threads, calls …


def measure_cost(net: nn.Module, config: dict[str, Any], device: torch.device) -> NetCost:
    """Return the cost of a net of a resolved config, as `sr.evaluate` counts it; the net may be on `device` afterwards."""
    wanted = config.get("cost") or []
    multiply_adds = milliseconds = None
    protocol: dict[str, Any] = {}
    if "multiply_adds" in wanted:
        multiply_adds = count_multiply_adds(net, config["channels"], config["scale"])
    if "ms_per_image" in wanted:
        milliseconds, protocol = measure_speed(net, config["color"], device)
    return NetCost(count_parameters(net), multiply_adds, milliseconds, protocol)


def log_cost(cost: NetCost, tracker: Tracker, step: int) -> None:
    """Log what was asked for, under the names of `sr.evaluate`, with the protocol of the time as a tag."""
    points = {"multiply_adds_1280x720": cost.multiply_adds_1280x720, "ms_per_image": cost.ms_per_image}
    points = {f"cost/{name}": value for name, value in points.items() if value is not None}
    if points:
        tracker.log_points({"cost/parameters": cost.parameters, **points}, step)
    if cost.ms_per_image_protocol:
        tracker.set_tag("sr.ms_per_image", ", ".join(f"{k} {v}" for k, v in cost.ms_per_image_protocol.items()))
