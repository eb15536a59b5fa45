"""Train by a bare loop without end, and write when each step ended: the reference of `sr.bench parts=[perf]`.

A process of its own, `python -m sr.benchmark.bare_training FILE`; what it trains is JSON from standard input.
"""

import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from sr.benchmark.backend import Settings, create_loop
from sr.benchmark.batches import convert_to_float, draw_patches, load_patches
from sr.benchmark.gan_loop import create_gan_loop
from sr.runtime import malloc

GAN = "gan"  # in place of a net: the default GAN


def train(file: str, name: str, config: dict[str, Any], settings: list[Any]) -> None:
    """Train a net, or the GAN, until the process is stopped; append the time of each step to `file`."""
    malloc.retain_freed_memory()  # as a training does
    batches = convert_to_float(draw_patches(load_patches(config), config), config["channels"])
    create = partial(create_gan_loop, config) if name == GAN else partial(create_loop, name, config)
    loop = create(Settings(*settings), batches)
    with Path(file).open("a", encoding="utf-8") as times:
        while True:
            loop(1)
            print(time.time(), file=times, flush=True)


if __name__ == "__main__":
    train(sys.argv[1], **json.load(sys.stdin))
