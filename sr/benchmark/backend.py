"""Compare PyTorch's backend settings on this machine: one bare training loop with a setting, and without it.

The defaults of conf/trainer follow from these figures (experiments/speed).
"""

import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import nn

from sr.benchmark.batches import TrainingBatch, repeat_noise
from sr.benchmark.row import Row
from sr.checkpoint import architecture
from sr.config.build import build_part
from sr.runtime import malloc

ROUND_SECONDS = 1.0  # of a round, about
MIN_STEPS = 3  # of a round
MAX_ROUNDS = 5  # fifteen comparisons add up


class Settings(NamedTuple):
    """The settings of a training loop."""

    threads: int
    channels_last: bool = False
    bf16: bool = False
    compile: bool = False
    fused: bool = False  # Adam's kernel for all weights; PyTorch's default on a CPU is a loop over them

    @property
    def layout(self) -> torch.memory_format:
        return torch.channels_last if self.channels_last else torch.contiguous_format


def compare_settings(config: dict[str, Any]) -> Iterator[Row]:
    """Yield for each of `nets` the rates (steps/s) with each setting, and with the default settings as the reference."""
    threads, rounds = config["threads"], min(MAX_ROUNDS, config["rounds"])
    choices = {
        "channels_last": Settings(threads, channels_last=True),
        "bf16": Settings(threads, bf16=True),
        "channels_last, bf16": Settings(threads, channels_last=True, bf16=True),
        "channels_last, compiled": Settings(threads, channels_last=True, compile=True),
        "one thread": Settings(1),
    }
    reference_name = f"the same bare loop in float32, contiguous, not compiled, {threads} threads"
    malloc.retain_freed_memory()  # as a training does
    for net in config["nets"]:
        reference = create_loop(net, config, Settings(threads), repeat_noise(config, torch.contiguous_format))
        steps = max(MIN_STEPS, round(ROUND_SECONDS / measure_seconds(reference, MIN_STEPS) * MIN_STEPS))
        for name, settings in choices.items():
            print(f"{net}, {name}: {rounds} rounds of {steps} steps", file=sys.stderr)
            loop = create_loop(net, config, settings, repeat_noise(config, settings.layout))
            rates: tuple[list[float], list[float]] = ([], [])
            for k in range(rounds):
                sides = [(rates[0], loop), (rates[1], reference)]
                for side, train in sides if k % 2 == 0 else reversed(sides):
                    side.append(steps / measure_seconds(train, steps))
            yield Row(f"{net}, {name}", *rates, "steps/s", reference_name)
    torch.set_num_threads(threads)


def create_loop(
    net_name: str, config: dict[str, Any], settings: Settings, batches: Iterator[TrainingBatch]
) -> Callable[[int], None]:
    """Return a function that trains a net for a number of steps, each on the next batch; it is warmed up."""
    torch.manual_seed(0)
    net = build_part(architecture.compose_net_config(net_name, config["scale"], config["channels"]), "model.net")
    net.to(memory_format=settings.layout)
    if settings.compile:
        net.compile()
    optimizer, loss_function = torch.optim.Adam(net.parameters(), fused=settings.fused), nn.L1Loss()

    def train(steps: int) -> None:
        torch.set_num_threads(settings.threads)
        for batch in islice(batches, steps):
            lr, hr = (images.to(memory_format=settings.layout) for images in batch)
            with torch.autocast("cpu", torch.bfloat16, enabled=settings.bf16):
                loss = loss_function(net(lr), hr)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    train(MIN_STEPS)
    return train


def measure_seconds(train: Callable[[int], None], steps: int) -> float:
    """Return the seconds that `train` takes for a number of steps."""
    start = time.perf_counter()
    train(steps)
    return time.perf_counter() - start
