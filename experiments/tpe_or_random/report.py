"""Print the tables of this study, and draw its curves: `python experiments/tpe_or_random/report.py` after study.py."""

import json
from pathlib import Path
from statistics import mean, stdev

import optuna
from matplotlib.figure import Figure
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from study import REPETITIONS, RUNS, STEPS, read_trials

from sr.sweep.study import JOURNAL_FILE

SEARCHES = {"random": "random search", "tpe": "TPE, pruned"}
COLORS = {"random": "#9a6324", "tpe": "#1f5fa8"}
INTERVAL = 50  # steps between validations


def load_trials(name: str) -> list[FrozenTrial]:
    """Return the trials of a sweep in the order in which they ran, with the PSNR of each validation."""
    storage = JournalStorage(JournalFileBackend(str(RUNS / "sweeps" / name / JOURNAL_FILE)))
    return optuna.load_study(storage=storage, study_name="sweep").trials


def follow_best(trials: list[FrozenTrial]) -> list[float]:
    """Return the best PSNR so far at each validation of the sweep; these are `INTERVAL` steps apart."""
    best, curve = float("-inf"), []
    for trial in trials:
        for _, value in sorted(trial.intermediate_values.items()):
            best = max(best, value)
            curve.append(best)
    return curve


def prune_afterwards(trials: list[FrozenTrial]) -> tuple[int, float]:
    """Return the steps and the best PSNR that these trials would have had with median pruning."""
    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.MedianPruner(5))
    steps = 0
    for whole in trials:
        trial = study.ask()
        for step, value in sorted(whole.intermediate_values.items()):
            steps += INTERVAL
            trial.report(value, step)
            if trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
                break
        else:
            study.tell(trial, whole.value)
    return steps, study.best_value


def read_scores(name: str) -> dict[str, list[float]]:
    """Return the PSNR of the runs with new seeds on each test set."""
    runs = [
        json.loads((Path(trial["folder"]) / "summary.json").read_text(encoding="utf-8"))["metrics"]
        for trial in read_trials(f"again-{name}")
    ]
    return {set_: [run[f"test/{set_}/psnr"] for run in runs] for set_ in ("Set5", "Set14")}


def describe(values: list[float]) -> str:
    """Return mean ± standard deviation."""
    return f"{mean(values):.3f} ± {stdev(values):.3f}"


def print_row(*cells: object) -> None:
    """Print a row of a Markdown table."""
    print("|", " | ".join(map(str, cells)), "|")


def print_tables() -> None:
    """Print one row for each sweep and the means of each search."""
    means: dict[str, dict[str, list[float]]] = {search: {} for search in SEARCHES}
    print_row("sweep", "trials", "pruned", "steps", "min", "lr", "width", "loss", "found", "Set5", "Set14")
    for k in REPETITIONS:
        for search in SEARCHES:
            name = f"{search}-{k}"
            trials, best, scores = load_trials(name), read_trials(name)[0], read_scores(name)
            pruned = sum(trial.state == TrialState.PRUNED for trial in trials)
            steps = INTERVAL * sum(len(trial.intermediate_values) for trial in trials)
            minutes = sum(float(trial["seconds"]) for trial in read_trials(name)) / 60
            options = [best[key] for key in ("model.optimizer.lr", "model.net.width", "model/loss")]
            print_row(name, len(trials), pruned, steps, f"{minutes:.1f}", *options, f"{float(best['psnr']):.3f}",
                      *map(describe, scores.values()))  # fmt: skip
            for key, value in {"found": [float(best["psnr"])], **scores}.items():
                means[search].setdefault(key, []).append(mean(value))
    print_row("recipe", *["–"] * 4, "0.003", 56, "l1", "–", *map(describe, read_scores("recipe").values()))
    for search, values in means.items():
        print_row(search, *map(describe, values.values()))
    for k in REPETITIONS:
        trials, curve = load_trials(f"random-{k}"), follow_best(load_trials(f"tpe-{k}"))
        steps, best = prune_afterwards(trials)
        overtaken = next(
            (INTERVAL * (i + 1) for i, value in enumerate(curve) if value >= follow_best(trials)[-1]), None
        )
        print_row(
            f"random-{k}", len(trials) * STEPS, f"pruned: {steps}", f"{best:.3f}", f"TPE equals it at {overtaken}"
        )


def draw_curves(file: Path) -> None:
    """Draw the best PSNR so far over the steps of each sweep."""
    figure = Figure((6.4, 3.4), dpi=100, layout="constrained")
    axes = figure.subplots()
    for search, label in SEARCHES.items():
        for k in REPETITIONS:
            curve = follow_best(load_trials(f"{search}-{k}"))
            steps = [INTERVAL * (i + 1) for i in range(len(curve))]
            axes.step(steps, curve, color=COLORS[search], where="post", lw=1.4, label=None if k else label)
    axes.set(xlabel="training steps in all trials", ylabel="best PSNR on Set5 so far, dB", ylim=(30.4, None))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(file)


if __name__ == "__main__":
    draw_curves(Path(__file__).with_name("curves.png"))
    print_tables()
