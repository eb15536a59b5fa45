"""The score of NTIRE's efficient super-resolution challenge: time, multiply-adds and parameters relative to a baseline.

Challenge of 2026: 0.8·exp(2t/t₀) + 0.1·exp(2F/F₀) + 0.1·exp(2P/P₀); t, F and P are those of the network, t₀, F₀ and P₀ those of
the baseline, SPAN with 28 channels. The baseline has e² = 7.39; lower is better. The challenge compares networks of equal
quality, at ×4 and on one GPU; here t/t₀ is measured on the machine at hand, in turns with the baseline of the same scale.
"""

import math
import statistics
import time
from typing import Any, NamedTuple

import torch
from torch import nn

from sr.inference.complexity import count_parameters
from sr.inference.layout import convert_weights
from sr.inference.multiply_adds import count_multiply_adds
from sr.inference.upscale import upscale

BASELINE = {"width": 28, "deployed": True}  # of model/net=span: 0.151 M parameters, 9.83 G multiply-adds at ×4
LR_SIZE = (256, 256)  # height and width, as in the challenge
WARM_UP_CALLS, ROUNDS, SECONDS = 1, 5, 5.0


class NTIREScore(NamedTuple):
    """The score, and what it was made of."""

    value: float
    protocol: dict[str, Any]


@torch.inference_mode()
def measure_ntire_score(net: nn.Module, baseline: nn.Module, color: str, device: torch.device) -> NTIREScore | None:
    """Return the score of a net; None if its multiply-adds cannot be counted.

    `baseline` is the network of `BASELINE`, of the scale and channels of `net`. Both are moved to `device`. A round is one
    call of each; the ratio of times is the median of at least five rounds. The random state is not touched.
    """
    work = [count_multiply_adds(one, one.channels, one.scale, LR_SIZE) for one in (net, baseline)]
    if not all(work):
        return None
    channels = {"gray": 1, "bands": net.channels}.get(color, 3)
    lr = torch.rand(1, channels, *LR_SIZE, generator=torch.Generator().manual_seed(0)).to(device)
    pair = [one.to(device).eval() for one in (net, baseline)]
    for one in pair:
        convert_weights(one, torch.channels_last)
    rounds, start = [], time.perf_counter()
    while len(rounds) < WARM_UP_CALLS + ROUNDS or time.perf_counter() - start < SECONDS:
        seconds, seconds_0 = (_time_call(one, lr, color) for one in pair)
        rounds.append(seconds / seconds_0)
    time_ratio = statistics.median(rounds[WARM_UP_CALLS:])
    work_ratio, size_ratio = work[0] / work[1], count_parameters(net) / count_parameters(baseline)
    value = sum(
        weight * math.exp(min(2 * ratio, 700))  # exp(710) is no float
        for weight, ratio in ((0.8, time_ratio), (0.1, work_ratio), (0.1, size_ratio))
    )
    protocol = {
        "formula": "0.8 exp(2 time) + 0.1 exp(2 multiply_adds) + 0.1 exp(2 parameters)",
        "baseline": f"SPAN x{net.scale}, {BASELINE['width']} wide",
        "time": round(time_ratio, 4),
        "multiply_adds": round(work_ratio, 4),
        "parameters": round(size_ratio, 4),
        "lr": "{1}x{0}".format(*LR_SIZE),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "rounds": len(rounds) - WARM_UP_CALLS,
    }
    return NTIREScore(round(value, 3), protocol)


def _time_call(net: nn.Module, lr: torch.Tensor, color: str) -> float:
    start = time.perf_counter()
    upscale(net, lr, color)
    if lr.device.type != "cpu":
        torch.accelerator.synchronize()
    return time.perf_counter() - start
