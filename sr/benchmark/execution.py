"""Compare runs with `perf=plain`, `auto` and `fast` with bare loops: the best one in float32, and the best of all."""

import sys
from typing import Any

from sr.benchmark.backend import MIN_STEPS, Settings, create_loop, measure_seconds
from sr.benchmark.row import Row
from sr.benchmark.sweep import run_commands
from sr.runtime import malloc

MAX_ROUNDS = 3
LOOPS = {
    "float32": "a bare loop on one batch in memory, channels_last, float32",
    "bf16": "a bare loop on one batch in memory, channels_last, bf16-mixed",
}
MODES = {"plain": "float32", "auto": "float32", "fast": "bf16"}  # -> the loop that it is compared with


def compare_modes(config: dict[str, Any]) -> list[Row]:
    """Return for each of `nets` and each mode the steps per second of training in a run, and of the bare loop."""
    malloc.retain_freed_memory()  # as a training does
    rounds, threads, rows = min(MAX_ROUNDS, config["rounds"]), config["threads"], []
    for net in config["nets"]:
        loops = {
            name: create_loop(net, config, Settings(threads, channels_last=True, bf16=name == "bf16")) for name in LOOPS
        }
        steps = max(MIN_STEPS, round(config["seconds"] / measure_seconds(loops["float32"], MIN_STEPS) * MIN_STEPS))
        rates: dict[str, tuple[list[float], list[float]]] = {mode: ([], []) for mode in MODES}
        for k in range(rounds):
            print(f"perf, {net}: round {k + 1} of {rounds}", file=sys.stderr)
            for mode, loop in MODES.items():
                words = [f"model/net={net}", f"scale={config['scale']}", f"perf={mode}", "stages=[fit]", "track=none"]
                words += [f"trainer.max_steps={steps}", f"trainer.val_check_interval={steps}", "progress=false"]
                words += ["trainer.accelerator=cpu", f"data.batch={config['data']['batch']}"]
                rates[mode][0].append(run_commands([words], threads).steps_per_second)
                rates[mode][1].append(steps / measure_seconds(loops[loop], steps))
        rows += [Row(f"{net}, perf={mode}", *rates[mode], "steps/s", LOOPS[MODES[mode]]) for mode in MODES]
    return rows
