"""Measure sweeps by their command line: what a trial costs beyond a bare run, and what two jobs gain.

All commands train on one thread, on the embedded photographs. The overhead includes their imports.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from sr.benchmark.row import Row
from sr.runtime.error import UserError

COMMAND = (sys.executable, "-m", "sr.run")
OPTIONS = ("stages=[fit]", "track=journal", "progress=false", "trainer.accelerator=cpu", "data.batch=8")
MAX_ROUNDS = 3
SHORT_STEPS = 20  # of the trials whose overhead is measured
SHORT_TRIALS = 4
LONG_SECONDS = 20.0  # of training in each of the trials that run two at a time
POLL_SECONDS = 0.01
BARE_RUN = f"a bare run of the same options, in turns with sweeps of {SHORT_TRIALS} trials of {SHORT_STEPS} steps"


class CommandTime(NamedTuple):
    """The time in seconds of commands that were started together."""

    total: float
    first_run: float  # until the first run has its folder
    steps_per_second: float  # of training, the mean of their runs


def compare_sweeps(config: dict[str, Any]) -> list[Row]:
    """Return the rows: overhead of a trial, time to the first one, and throughput of two jobs and of two bare runs."""
    rounds = min(config["rounds"], MAX_ROUNDS)
    bare_runs: list[CommandTime] = []
    sweeps: list[CommandTime] = []
    for k in range(rounds):
        print(f"overhead of sweeps, round {k + 1} of {rounds}", file=sys.stderr)
        sides = [(bare_runs, _list_bare_runs(SHORT_STEPS, 1)), (sweeps, [_list_sweep_words(SHORT_STEPS, SHORT_TRIALS)])]
        for times, commands in sides if k % 2 == 0 else reversed(sides):
            times.append(run_commands(commands))
    steps = max(1, round(LONG_SECONDS * mean(time.steps_per_second for time in bare_runs)))
    bare = [time.total for time in bare_runs]
    overhead = [sweep.total / SHORT_TRIALS - seconds for sweep, seconds in zip(sweeps, bare, strict=True)]
    first_runs = [[time.first_run for time in times] for times in (sweeps, bare_runs)]
    return [
        Row("a sweep's overhead per trial, beyond the bare run", overhead, bare, "s", BARE_RUN),
        Row("time until the first run of a sweep begins", *first_runs, "s", BARE_RUN),
        *_compare_jobs(steps, rounds),
    ]


def _compare_jobs(steps: int, rounds: int) -> list[Row]:
    """Compare the throughput (runs/min) of two jobs with twice that of one, and the same of bare runs.

    Two jobs have twice the trials of one, so that both sides take the same time if the efficiency is 1. That time begins
    with the first run: the start of the sweep would hide a loss. The bare runs show what the machine itself allows.
    """
    rates: dict[str, list[float]] = {"one job": [], "two jobs": [], "one bare run": [], "two bare runs": []}
    plans = {
        "one job": (2, [_list_sweep_words(steps, 2)]),
        "two jobs": (4, [_list_sweep_words(steps, 4, "sweep.jobs=2")]),
        "one bare run": (1, _list_bare_runs(steps, 1)),
        "two bare runs": (2, _list_bare_runs(steps, 2)),
    }
    for k in range(rounds):
        print(f"sweeps of two jobs, round {k + 1} of {rounds}", file=sys.stderr)
        for name, (count, commands) in plans.items() if k % 2 == 0 else reversed(plans.items()):
            timing = run_commands(commands)
            rates[name].append(60 * count / (timing.total - timing.first_run))
    rows = []
    for name, single in (("two jobs", "one job"), ("two bare runs", "one bare run")):
        reference = [2 * rate for rate in rates[single]]
        rows.append(Row(f"{name}, one thread each", rates[name], reference, "runs/min", f"twice {single}"))
    return rows


def _list_bare_runs(steps: int, count: int) -> list[list[str]]:
    return [_list_words(steps, f"seed={seed}") for seed in range(count)]


def _list_sweep_words(steps: int, trials: int, *words: str) -> list[str]:
    return ["-m", *_list_words(steps, f"seed={','.join(map(str, range(trials)))}"), *words]


def _list_words(steps: int, *words: str) -> list[str]:
    return [*OPTIONS, f"trainer.max_steps={steps}", f"trainer.val_check_interval={steps}", *words]


def run_commands(commands: list[list[str]], threads: int = 1) -> CommandTime:
    """Run `sr.run` with each list of words, all at the same time, and wait for them. Raise if one of them fails."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as output:
        start, first_run = time.perf_counter(), None
        processes = [
            subprocess.Popen(
                [*COMMAND, *words, f"paths.runs={folder}"],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
            )
            for words in commands
        ]
        try:
            while any(process.poll() is None for process in processes):
                if first_run is None and any(Path(folder).glob("*/run.json")):
                    first_run = time.perf_counter() - start
                time.sleep(POLL_SECONDS)
        finally:
            for process in processes:
                process.terminate()  # an interruption is passed on; of a process that has ended nothing happens
                process.wait()
        total = time.perf_counter() - start
        if any(process.returncode for process in processes) or first_run is None:
            output.seek(0)
            raise UserError(f"parts: a run of the benchmark failed: {output.read().strip()[-300:]}")
        summaries = [json.loads(file.read_text(encoding="utf-8")) for file in Path(folder).glob("*/summary.json")]
        return CommandTime(total, first_run, mean(summary["steps_per_second"] for summary in summaries))
