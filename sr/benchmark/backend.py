"""What this machine gives a training: one bare loop under one dial after another, each in turns with the loop without it.

From these figures follow the defaults of conf/trainer (experiments/speed).
"""

import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn

from sr.checkpoint import architecture
from sr.config.build import build_part
from sr.image.color import rgb_to_luma
from sr.runtime import malloc

SECONDS = 1.0  # of a turn, about
LEAST = 3  # steps of a turn
ROUNDS = 5  # at most: fifteen comparisons add up


class Gear(NamedTuple):
    """How a loop runs."""

    threads: int
    channels_last: bool = False
    bf16: bool = False
    compile: bool = False


def rows(config: dict[str, Any]) -> list[dict[str, Any]]:
    """For each of `nets` the rates (steps/s) under each gear (`ours`) and under none (`rival`)."""
    full, rounds = config["threads"], min(ROUNDS, config["rounds"])
    gears = {
        "channels_last": Gear(full, channels_last=True),
        "bf16": Gear(full, bf16=True),
        "channels_last, bf16": Gear(full, channels_last=True, bf16=True),
        "channels_last, compiled": Gear(full, channels_last=True, compile=True),
        "one thread": Gear(1),
    }
    malloc.retain_freed_memory()  # as a training does
    found = []
    for name in config["nets"]:
        plain = _loop(name, config, Gear(full))
        steps = max(LEAST, round(SECONDS / _seconds(plain, LEAST) * LEAST))
        for what, gear in gears.items():
            print(f"{name}, {what}: {rounds} rounds of {steps} steps", file=sys.stderr)
            other = _loop(name, config, gear)
            turns = [(steps / _seconds(other, steps), steps / _seconds(plain, steps)) for _ in range(rounds)]
            ours, rival = zip(*turns, strict=True)
            found.append(_row(f"{name}, {what}", list(ours), list(rival), full))
    torch.set_num_threads(full)
    return found


def _loop(name: str, config: dict[str, Any], gear: Gear) -> Callable[[int], None]:
    """A function that trains so many steps on one batch of noise; warmed up."""
    torch.manual_seed(0)
    scale, patch, batch = config["scale"], config["data"]["patch"], config["data"]["batch"]
    net = build_part(architecture.compose_net_config(name, scale, config["channels"]), "model.net")
    layout = torch.channels_last if gear.channels_last else torch.contiguous_format
    net.to(memory_format=layout)
    if gear.compile:
        net.compile()
    optimizer, error = torch.optim.Adam(net.parameters()), nn.L1Loss()
    hr = torch.rand(batch, 3, patch, patch)
    hr = rgb_to_luma(hr) if config["channels"] == 1 else hr
    lr = nn.functional.avg_pool2d(hr, scale)
    lr, hr = (image.to(memory_format=layout) for image in (lr, hr))

    def train(steps: int) -> None:
        torch.set_num_threads(gear.threads)
        for _ in range(steps):
            with torch.autocast("cpu", torch.bfloat16, enabled=gear.bf16):
                loss = error(net(lr), hr)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    train(LEAST)
    return train


def _seconds(train: Callable[[int], None], steps: int) -> float:
    start = time.perf_counter()
    train(steps)
    return time.perf_counter() - start


def _row(name: str, ours: list[float], rival: list[float], threads: int) -> dict[str, Any]:
    rival_is = f"the same bare loop in float32, contiguous, not compiled, {threads} threads"
    return {"name": name, "ours": ours, "rival": rival, "unit": "steps/s", "rival_is": rival_is}
