"""The study experiments/tpe_or_random: its README has the command that its script types, and the budget is used as it says."""

import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from documents import ROOT, list_commands

FOLDER = ROOT / "experiments/tpe_or_random"


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(FOLDER))
    import study

    monkeypatch.setattr(study, "RUNS", tmp_path)
    yield study
    del sys.modules["study"]


def test_its_readme_has_the_commands_of_the_script(study: Any) -> None:
    space = [f"{key}={values}" for key, values in study.SPACE.items()]
    shared = {*study.BASE, *space, "stages=[fit]", "seed=0"}
    words = [set(shlex.split(command.text)[4:]) - shared for command in list_commands([FOLDER / "README.md"])[:2]]
    assert words == [
        {"sweep=random", "sweep.trials=20", "sweep.name=random-0"},
        {"sweep=tpe", "sweep/pruner=median", "sweep.trials=20", "sweep.name=tpe-0"},
    ]


def test_a_search_with_pruned_trials_is_extended_until_its_budget_is_used(
    study: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The first ten trials take 400 steps, later ones 200: 20 trials take 6,000 of 8,000 steps, and leave 5 whole ones."""
    totals: list[int] = []

    def run_sweep(name: str, *words: str) -> None:
        total = next(int(word.removeprefix("sweep.trials=")) for word in words if word.startswith("sweep.trials="))
        totals.append(total)
        for k in range(total):
            (tmp_path / str(k)).mkdir(exist_ok=True)
            (tmp_path / str(k) / "summary.json").write_text(json.dumps({"steps": 400 if k < 10 else 200}))
        rows = "\n".join(f"{k},{tmp_path / str(k)}" for k in range(total))
        (tmp_path / "sweeps" / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "sweeps" / name / "trials.csv").write_text(f"trial,folder\n{rows}\n")

    monkeypatch.setattr(study, "run_sweep", run_sweep)
    study.search_by_tpe("tpe-0", 0, [])
    assert totals == [20, 25, 27, 28, 29]
    assert study.count_steps("tpe-0") == 7800
