"""The speed of a network, measured in a way that can be repeated: the same image, a warm-up, the median of many calls."""

import math
import time
from typing import Any

import torch
from torch import nn

from sr.inference.complexity import Meter
from sr.inference.layout import prepare_net
from sr.inference.multiply_adds import OUTPUT_SIZE
from sr.inference.upscale import upscale

WARM_UP_CALLS, MIN_CALLS, MAX_CALLS = 1, 5, 30
SECONDS = 3.0  # after which no call is added to the least number


@torch.inference_mode()
def measure_speed(net: nn.Module, color: str, device: torch.device) -> tuple[float, dict[str, Any]]:
    """Return the milliseconds in which a net upscales one image, and how they were measured.

    The output has 1280×720 pixels, as that of the multiply-adds; `color` is what the net's input is, as in `upscale`. The
    net is moved to `device`, in the memory layout of an evaluation. The random state is not touched.
    """
    prepare_net(net, device)
    generator = torch.Generator().manual_seed(0)
    lr_size = [math.ceil(n / net.scale) for n in OUTPUT_SIZE]
    channels = {"gray": 1, "bands": getattr(net, "channels", 3)}.get(color, 3)
    lr = torch.rand(1, channels, *lr_size, generator=generator).to(device)
    meter, start = Meter(device), time.perf_counter()
    while len(meter.seconds) < WARM_UP_CALLS + MIN_CALLS or (
        len(meter.seconds) < WARM_UP_CALLS + MAX_CALLS and time.perf_counter() - start < SECONDS
    ):
        with meter.measure_call():
            upscale(net, lr, color)
    protocol = {
        "output": "{1}x{0}".format(*OUTPUT_SIZE),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "statistic": "median",
        "calls": len(meter.seconds) - WARM_UP_CALLS,
        "warm_up_calls": WARM_UP_CALLS,
    }
    return round(meter.milliseconds, 3), protocol
