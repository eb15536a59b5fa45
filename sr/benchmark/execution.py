"""Compare runs with `perf=plain`, `auto` and `fast` with bare loops on patches of images in memory, of CNNs and of a GAN.

The reference of `perf=plain` is a loop with `torch.optim.Adam` as it is. All others are compared with the fastest loop of
their precision, which has the fused kernel of Adam, as the runs have. `perf=` compiles the network only if the training is
long enough; that speed is measured with the options that it would choose then.

In each round run and loop are new processes, because two processes of the same loop differ by a few hundredths. They train
without end, so that no validation is measured.
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from sr.benchmark.backend import Settings
from sr.benchmark.bare_training import GAN
from sr.benchmark.row import Row
from sr.benchmark.turns import EndlessTraining, measure_rates
from sr.record.journal_format import JOURNAL_FILE, read_entries
from sr.runtime.error import UserError
from sr.runtime.precision import has_fast_bf16

MAX_ROUNDS = 5
NO_END = 10**9  # steps
SIGNAL = "train/lr"  # logged at each step


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
    for name in (*config["nets"], GAN):
        for mode in MODES:
            if mode.bf16 and not has_fast_bf16(torch.device("cpu")):
                _report_left_out(name, mode, "this CPU has no instructions for bf16")
                continue
            try:
                yield _compare_mode(name, mode, config)
            except UserError as error:
                if not mode.compile:
                    raise
                _report_left_out(name, mode, str(error))  # without a C++ compiler


def _report_left_out(name: str, mode: Mode, reason: str) -> None:
    print(f"perf, {name}, {' '.join(mode.words)}: left out ({reason})", file=sys.stderr)


def _compare_mode(name: str, mode: Mode, config: dict[str, Any]) -> Row:
    """Return the steps per second of a run and of the loop in each round; the side that has the first turn changes."""
    words = [
        *(["model=gan", "model.warmup_steps=0"] if name == GAN else [f"model/net={name}"]),
        f"scale={config['scale']}",
        f"color={config['color']}",
        f"data.batch={config['data']['batch']}",
        f"data.patch={config['data']['patch']}",
        *mode.words,
    ]
    settings = Settings(config["threads"], True, mode.bf16, mode.compile, mode.fused)
    row = Row(f"{name}, {' '.join(mode.words)}", [], [], "steps/s", mode.reference)
    rounds = min(MAX_ROUNDS, config["rounds"])
    for k in range(rounds):
        print(f"perf, {row.name}: round {k + 1} of {rounds}", file=sys.stderr)
        with tempfile.TemporaryDirectory(prefix="sr-bench-") as folder:
            run = _describe_run(words, Path(folder, "runs"))
            loop = _describe_loop(name, config, settings, Path(folder, "times"))
            sides = [(row.sr, run), (row.reference, loop)]
            if k % 2:
                sides.reverse()
            rates = measure_rates([training for _, training in sides], config["seconds"], config["threads"], "perf")
            for (side, _), rate in zip(sides, rates, strict=True):
                side.append(rate)
    return row


def _describe_run(words: list[str], folder: Path) -> EndlessTraining:
    options = ["stages=[fit]", "track=journal", "progress=false", "trainer.accelerator=cpu",
               f"trainer.max_steps={NO_END}", f"trainer.val_check_interval={NO_END}", f"paths.runs={folder}"]  # fmt: skip

    def read_times() -> list[float]:
        entries = (placed.entry for file in folder.glob(f"*/{JOURNAL_FILE}") for placed in read_entries(file))
        return [entry["time"] / 1000 for entry in entries if SIGNAL in entry.get("points", ())]

    return EndlessTraining(["sr.run", *words, *options], "", read_times)


def _describe_loop(name: str, config: dict[str, Any], settings: Settings, file: Path) -> EndlessTraining:
    description = json.dumps({"name": name, "config": config, "settings": settings})

    def read_times() -> list[float]:
        text = file.read_text(encoding="utf-8") if file.exists() else ""
        return [float(line) for line in text.split("\n")[:-1]]  # the last one may be incomplete

    return EndlessTraining(["sr.benchmark.bare_training", str(file)], description, read_times)
