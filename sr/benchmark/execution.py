"""Compare runs with `perf=plain`, `auto` and `fast` with bare loops on patches of images in memory, of CNNs and of a GAN.

The reference of `perf=plain` is a loop with `torch.optim.Adam` as it is. All others are compared with the fastest loop of
their precision, which has the fused kernel of Adam, as the runs have. `perf=` compiles the network only if the training is
long enough; that speed is measured with the options that it would choose then.

Run and loop are processes of their own in each round, because two processes of the same loop differ by a few hundredths.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
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

MAX_ROUNDS = 5
MIN_STEPS = 30  # of a round: after a validation, which returns memory, the first one takes longer
LONG_ENOUGH = 100  # steps of a training in which perf= measures anything
RATE = "train/steps_per_second"  # of the steps between two validations
GAN = "gan"  # the rows of the default GAN


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

    def get_settings(self, threads: int) -> Settings:
        return Settings(threads, True, self.bf16, self.compile, self.fused)


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
    for name in (*config["nets"], GAN):
        yield from _compare_modes(name, config)


def _compare_modes(name: str, config: dict[str, Any]) -> list[Row]:
    """Return a row for each mode that this machine has: compiling needs a C++ compiler, and bf16 a CPU for it."""
    # Loops that can be measured, and the steps of a round.
    threads, rates = config["threads"], {}
    for mode in MODES:
        reason = ""
        if mode.bf16 and not has_fast_bf16(torch.device("cpu")):
            reason = "this CPU has no instructions for bf16"
        else:
            try:
                rates[mode] = _measure_loop(name, config, mode.get_settings(threads), MIN_STEPS)
            except Exception as error:
                if not mode.compile:
                    raise
                reason = str(error).strip()[:100]
        if reason:
            print(f"perf, {name}: without {mode.reference} ({reason})", file=sys.stderr)
    steps = max(MIN_STEPS, round(config["seconds"] * rates[MODES[0]]))

    # Words of the runs. What perf= measures is stored, if the training is long enough.
    words = [
        *(["model=gan", "model.warmup_steps=0"] if name == GAN else [f"model/net={name}"]),
        f"scale={config['scale']}",
        f"color={config['color']}",
        f"data.batch={config['data']['batch']}",
        f"data.patch={config['data']['patch']}",
    ]
    for mode in rates:
        if mode.words[0] in ("perf=auto", "perf=fast"):
            print(f"perf, {name}, {' '.join(mode.words)}: not counted", file=sys.stderr)
            _measure_run([*words, *mode.words], LONG_ENOUGH // 2, threads)

    # Rounds.
    rows = {mode: Row(f"{name}, {' '.join(mode.words)}", [], [], "steps/s", mode.reference) for mode in rates}
    rounds = min(MAX_ROUNDS, config["rounds"])
    for k in range(rounds):
        for mode, row in rows.items():
            print(f"perf, {row.name}: round {k + 1} of {rounds}, {steps} steps", file=sys.stderr)
            sides = [
                (row.sr, partial(_measure_run, [*words, *mode.words], steps, threads)),
                (row.reference, partial(_measure_loop, name, config, mode.get_settings(threads), steps)),
            ]
            for side, measure in sides if k % 2 == 0 else reversed(sides):
                side.append(measure())
    return list(rows.values())


def _measure_loop(name: str, config: dict[str, Any], settings: Settings, steps: int) -> float:
    """Return the steps per second of a bare loop, in a process of its own."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(_train_loop, name, config, settings, steps).result()


def _train_loop(name: str, config: dict[str, Any], settings: Settings, steps: int) -> float:
    """Return the steps per second of a bare loop that has warmed up as long as a run."""
    malloc.retain_freed_memory()  # as a training does
    batches = convert_to_float(draw_patches(load_patches(config), config), config["channels"])
    create = partial(create_gan_loop, config) if name == GAN else partial(create_loop, name, config)
    loop = create(settings, batches)
    loop(steps)
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
