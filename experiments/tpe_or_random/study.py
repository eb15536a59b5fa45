"""Run the sweeps of this study, or continue them after an interruption: `python experiments/tpe_or_random/study.py`.

Both searches get the same number of training steps. A trial of random search takes `STEPS`; one of TPE may be pruned, so that
its sweep is extended until the budget is used. Afterwards each sweep's best options, and
those of the recipe, are trained again with seeds that no search has used.
"""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

STEPS, TRIALS = 400, 20
BUDGET = STEPS * TRIALS  # training steps of each sweep
REPETITIONS = range(3)
NEW_SEEDS = "100,101,102"
RUNS = Path(os.environ.get("SR_RUNS", "runs"))
BASE = f"""experiment=fsrcnn_x3 data.path=T91 data.exclude=[] data.patch=48 data.batch=8 model.schedule.warmup=20
    trainer.max_steps={STEPS} trainer.val_check_interval=50 track=journal progress=false""".split()
SPACE = {
    "model.optimizer.lr": "tag(log,interval(1e-4,3e-2))",
    "model.net.width": "choice(8,16,32,56)",
    "model/loss": "l1,mse,charbonnier",
}
# The options of conf/experiment/fsrcnn_x3.yaml.
RECIPE = {"model.optimizer.lr": "3e-3", "model.net.width": "56", "model/loss": "l1"}


def run_sweep(name: str, *words: str) -> None:
    """Run a sweep, or what is missing of it."""
    command = [sys.executable, "-m", "sr.run", "-m", f"sweep.name={name}", *BASE, *words]
    subprocess.run(command, check=True)


def read_trials(name: str) -> list[dict[str, str]]:
    """Return the rows of a sweep's table, the best trial first."""
    file = RUNS / "sweeps" / name / "trials.csv"
    return list(csv.DictReader(file.open(encoding="utf-8"))) if file.exists() else []


def count_steps(name: str) -> int:
    """Return how many steps the trials of a sweep have trained in all."""
    # A repeated choice of options has the run of the earlier one; a trial that failed at its start has none.
    folders = {trial["folder"] for trial in read_trials(name)} - {""}
    summaries = [Path(folder) / "summary.json" for folder in folders]
    return sum(json.loads(file.read_text(encoding="utf-8"))["steps"] for file in summaries if file.exists())


def search_by_tpe(name: str, seed: int, space: list[str]) -> None:
    """Search until what remains of the budget is less than a whole trial."""
    trials = max(TRIALS, len(read_trials(name)))
    while True:
        words = ["sweep=tpe", "sweep/pruner=median", f"sweep.trials={trials}", "stages=[fit]", f"seed={seed}", *space]
        run_sweep(name, *words)
        more = (BUDGET - count_steps(name)) // STEPS
        if more < 1:
            return
        trials += more


def main() -> None:
    """Run all sweeps."""
    space = [f"{key}={values}" for key, values in SPACE.items()]
    for k in REPETITIONS:
        run_sweep(f"random-{k}", "sweep=random", f"sweep.trials={TRIALS}", "stages=[fit]", f"seed={k}", *space)
        search_by_tpe(f"tpe-{k}", k, space)
    winners = {name: read_trials(name)[0] for k in REPETITIONS for name in (f"random-{k}", f"tpe-{k}")}
    for name, options in {"recipe": RECIPE, **winners}.items():
        words = [f"{key}={options[key]}" for key in SPACE]
        run_sweep(f"again-{name}", "data.test=[Set5,Set14]", f"seed={NEW_SEEDS}", *words)


if __name__ == "__main__":
    main()
