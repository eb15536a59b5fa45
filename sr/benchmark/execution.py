"""Compare runs with `perf=plain`, `auto` and `fast` with bare loops on patches of images in memory, of CNNs and of a GAN.

The reference of `perf=plain` is a loop with `torch.optim.Adam` as it is. All others are compared with the fastest loop of
their precision, which has the fused kernel of Adam, as the runs have. `perf=` compiles the network only if the training is
long enough; that speed is measured with the options that it would choose then.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from sr.benchmark.backend import Settings, create_loop, measure_seconds
from sr.benchmark.batches import convert_to_float, draw_patches, load_patches
from sr.benchmark.gan_loop import create_gan_loop
from sr.benchmark.row import Row
from sr.record.journal_format import list_points
from sr.runtime import malloc
from sr.runtime.error import UserError
from sr.runtime.precision import has_fast_bf16

MAX_ROUNDS = 3
MIN_STEPS = 30  # of a round: after a validation, which returns memory, the first one takes longer
LONG_ENOUGH = 100  # steps of a training in which perf= measures anything
RATE = "train/steps_per_second"  # of the steps between two validations
GAN = "gan"  # the rows of the default GAN
Loop = Callable[[int], None]  # trains a number of steps


class Mode(NamedTuple):
    """Words of a run, and the settings of the bare loop that it is compared with."""

    words: tuple[str, ...]
    bf16: bool = False
    compile: bool = False
    fused: bool = True

    @property
    def reference(self) -> str:
        parts = ["channels_last", "bf16-mixed" if self.bf16 else "float32"]
        parts += ["fused Adam"] * self.fused + ["compiled"] * self.compile
        return f"a bare loop on patches of images in memory, {', '.join(parts)}"


MODES = (
    Mode(("perf=plain",), fused=False),
    Mode(("perf=auto", "trainer.compile=false")),
    Mode(("perf=fast", "trainer.compile=false"), bf16=True),
    Mode(("trainer.compile=true",), compile=True),
    Mode(("trainer.compile=true", "trainer.precision=bf16-mixed"), bf16=True, compile=True),
)


def compare_modes(config: dict[str, Any]) -> Iterator[Row]:
    """Yield for each of `nets`, for the default GAN, and for each mode the steps per second of a run and of the loop."""
    if config["data"]["_target_"] != "sr.data.sample.Sample":
        print("parts=[perf]: left out, because it trains on data=sample alone (other data chosen)", file=sys.stderr)
        return
    malloc.retain_freed_memory()  # as a training does
    batches = convert_to_float(draw_patches(load_patches(config), config), config["channels"])
    for net in config["nets"]:
        words = [f"model/net={net}"]
        yield from _compare_modes(net, words, partial(create_loop, net, config, batches=batches), config)
    words = ["model=gan", "model.warmup_steps=0"]
    yield from _compare_modes(GAN, words, partial(create_gan_loop, config, batches=batches), config)


def _compare_modes(
    name: str, words: list[str], create: Callable[[Settings], Loop], config: dict[str, Any]
) -> list[Row]:
    """Return a row for each mode that this machine has: compiling needs a C++ compiler, and bf16 a CPU for it."""
    threads, loops = config["threads"], {}
    for mode in MODES:
        reason = ""
        if mode.bf16 and not has_fast_bf16(torch.device("cpu")):
            reason = "this CPU has no instructions for bf16"
        elif mode.reference not in loops:
            try:
                loops[mode.reference] = create(Settings(threads, True, mode.bf16, mode.compile, mode.fused))
            except Exception as error:
                if not mode.compile:
                    raise
                reason = str(error).strip()[:100]
        if reason:
            print(f"perf, {name}: without {mode.reference} ({reason})", file=sys.stderr)
    modes = [mode for mode in MODES if mode.reference in loops]
    steps = max(MIN_STEPS, round(config["seconds"] / measure_seconds(loops[MODES[0].reference], MIN_STEPS) * MIN_STEPS))
    words = [
        *words,
        f"scale={config['scale']}",
        f"color={config['color']}",
        f"data.batch={config['data']['batch']}",
        f"data.patch={config['data']['patch']}",
    ]
    rates: dict[Mode, tuple[list[float], list[float]]] = {mode: ([], []) for mode in modes}
    rounds = min(MAX_ROUNDS, config["rounds"])
    for mode in modes:
        if mode.words[0] in ("perf=auto", "perf=fast"):  # what is measured is stored, if the training is long enough
            print(f"perf, {name}, {' '.join(mode.words)}: not counted", file=sys.stderr)
            _measure_run([*words, *mode.words], LONG_ENOUGH // 2, threads)
    for k in range(rounds):
        for mode in modes:
            print(f"perf, {name}, {' '.join(mode.words)}: round {k + 1} of {rounds}, {steps} steps", file=sys.stderr)
            sides: list[Callable[[], float]] = [
                partial(_measure_run, [*words, *mode.words], steps, threads),
                partial(_measure_loop, loops[mode.reference], steps),
            ]
            for side in (0, 1) if k % 2 == 0 else (1, 0):
                rates[mode][side].append(sides[side]())
    return [Row(f"{name}, {' '.join(mode.words)}", *rates[mode], "steps/s", mode.reference) for mode in modes]


def _measure_loop(loop: Loop, steps: int) -> float:
    """Return the steps per second of a bare loop."""
    return steps / measure_seconds(loop, steps)


def _measure_run(words: list[str], steps: int, threads: int) -> float:
    """Return the steps per second of the second half of a run: the first half has warmed up and compiled."""
    words = [*words, "stages=[fit]", "track=journal", "progress=false", "trainer.accelerator=cpu",
             f"trainer.max_steps={2 * steps}", f"trainer.val_check_interval={steps}"]  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="sr-bench-") as folder:
        command = [sys.executable, "-m", "sr.run", *words, f"paths.runs={folder}"]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if done.returncode:
            raise UserError(f"parts=[perf]: sr.run {' '.join(words)} has failed: {done.stderr.strip()[-300:]}")
        (run,) = Path(folder).glob("*/run.json")
        return [value for name, _, value in list_points(run.parent) if name == RATE][-1]
