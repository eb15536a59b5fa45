"""Sweeps: the search space, and that a sweep gets exactly its trials, however trials and processes end.

Trials are processes of `trial_stub.py`; whole runs are in test_sweep_whole.py.
"""

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from sr.sweep import scheduler
from sr.sweep.pool.process import ProcessPool
from sr.sweep.scheduler import Scheduler, list_failures
from sr.sweep.space import split_overrides
from sr.sweep.study import FOLDER, REASON, Study
from sr.sweep.table import format_trials, trials_to_csv

PSNR = {"psnr": "maximize"}
NO_PRUNER = {"_target_": "optuna.pruners.NopPruner"}
GRID = {"sampler": None, "pruner": NO_PRUNER, "trials": 20}
TPE = {"sampler": {"_target_": "optuna.samplers.TPESampler"}, "pruner": NO_PRUNER, "trials": 5}


@pytest.fixture(autouse=True)
def stub_trials(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    stub = Path(__file__).with_name("trial_stub.py")
    monkeypatch.setattr(scheduler, "PROGRAM", (str(stub),))
    monkeypatch.setenv("PYTHONPATH", str(stub.parents[1]))
    monkeypatch.setattr(scheduler, "POLL_SECONDS", 0.02)
    verbosity = optuna.logging.get_verbosity()
    yield
    optuna.logging.set_verbosity(verbosity)


@pytest.fixture
def sweep(tmp_path: Path) -> Callable[..., Study]:
    """Return a function that runs a sweep of stubs in this folder, or continues it."""

    def run(
        *words: str, settings: dict[str, Any] = GRID, jobs: int = 1, objectives: tuple[str, ...] = ("psnr",)
    ) -> Study:
        fixed, space = split_overrides(words, is_grid=settings["sampler"] is None)
        folder = tmp_path / "sweeps" / "mine"
        folder.mkdir(parents=True, exist_ok=True)
        directions = ["maximize" if name == "psnr" else "minimize" for name in objectives]
        study = Study(folder, space, settings, directions, seed=0)
        base = [*fixed, f"paths.runs={tmp_path}"]
        pool = ProcessPool(jobs, gpus_per_trial=0, fork_server=False)
        Scheduler(study, folder, base, list(objectives), jobs, lambda: None, pool).run()
        return study

    return run


# A defined total.


def read_started(tmp_path: Path) -> list[str]:
    return (tmp_path / "started.txt").read_text().splitlines()


def test_a_grid_runs_every_combination_once(sweep: Callable[..., Study], tmp_path: Path) -> None:
    study = sweep("x=1,2,3,4", jobs=2)
    assert sorted(trial.params["x"] for trial in study.trials) == ["1", "2", "3", "4"]
    assert {trial.params["x"]: trial.values for trial in study.trials}["1"] == [-4.0]
    assert study.sort_trials()[0].params == {"x": "3"}
    sweep("x=1,2,3,4")  # the same command again
    assert len(read_started(tmp_path)) == 4


@pytest.mark.slow(2)
def test_a_search_has_its_total_and_can_be_extended(sweep: Callable[..., Study], tmp_path: Path) -> None:
    assert len(sweep("x=interval(0,10)", settings=TPE).trials) == 5
    study = sweep("x=interval(0,10)", settings=TPE | {"trials": 8})
    assert [trial.number for trial in study.trials] == list(range(8))
    assert len({trial.params["x"] for trial in study.trials}) == 8  # no value is drawn again after the restart


def test_a_failed_and_a_killed_trial_are_recorded_and_the_others_go_on(sweep: Callable[..., Study]) -> None:
    study = sweep("x=1,2,3", "fail=1", "crash=2")
    states = {trial.params["x"]: (trial.state, trial.user_attrs.get(REASON)) for trial in study.trials}
    assert states == {
        "1": (TrialState.FAIL, "x: expected another number"),
        "2": (TrialState.FAIL, "ended by signal 9 (out of memory?)"),
        "3": (TrialState.COMPLETE, None),
    }
    assert list_failures(study) == [0, 1]
    table = format_trials(study.sort_trials(), ["psnr"], ["x"])
    assert table.splitlines()[2].split()[:3] == ["2", "3", "0.0000"]  # the best first
    assert "trial 0: x: expected another number" in table
    assert trials_to_csv(study.sort_trials(), ["psnr"], ["x"]).count(",fail,") == 2


def test_a_trial_that_was_running_is_resumed_and_one_that_had_finished_is_only_recorded(
    sweep: Callable[..., Study], tmp_path: Path
) -> None:
    """As after a SIGKILL of the sweep: Optuna's journal says that both are running."""
    from sr.record.checkpoint_files import LAST
    from sr.record.result import SUMMARY_FILE, TrainingResult

    folder = tmp_path / "sweeps" / "mine"
    folder.mkdir(parents=True)
    _, space = split_overrides(["x=1,2,3"], is_grid=True)
    study = Study(folder, space, GRID, ["maximize"], seed=0)
    for name in ("finished", "half"):
        trial = study.start_trial()
        (tmp_path / name).mkdir()
        trial.set_user_attr(FOLDER, str(tmp_path / name))
    result = TrainingResult(status="FINISHED", metrics={"best/val/Set5/psnr": 7.0})
    (tmp_path / "finished" / SUMMARY_FILE).write_text(result.to_json())
    with zipfile.ZipFile(tmp_path / "half" / LAST, "w") as archive:
        archive.writestr("step", "1 -0.25")
    study = sweep("x=1,2,3")
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 3
    assert [trial.values for trial in study.trials[:2]] == [[7.0], [-0.75]]  # its second step of two costs 0.5
    first, _ = read_started(tmp_path)
    assert first.startswith(f"paths.runs={tmp_path} x=2 resume=")


def test_bad_trials_are_pruned(sweep: Callable[..., Study]) -> None:
    settings = GRID | {"pruner": {"_target_": "optuna.pruners.MedianPruner", "n_startup_trials": 2}}
    study = sweep("x=3,2,9", "steps=4", settings=settings)
    states = {trial.params["x"]: trial.state for trial in study.trials}
    assert states == {"3": TrialState.COMPLETE, "2": TrialState.COMPLETE, "9": TrialState.PRUNED}
    assert len(study.trials[2].intermediate_values) < 4


@pytest.mark.slow(1)
def test_two_objectives_give_the_pareto_front(sweep: Callable[..., Study]) -> None:
    """PSNR is −(x − 3)², the cost |x|: every x from 0 to 3 is better in one of them than any other; −1 and 5 are not."""
    study = sweep("x=-1,0,1,2,3,5", objectives=("psnr", "train_seconds"))
    front = {trial.params["x"] for trial in study.list_best()}
    assert front == {"0", "1", "2", "3"}


# conf/sweep/*.yaml.


@pytest.mark.group("sweep")
def test_every_sampler_chooses_trials(choice: str, compose: Callable, sweep: Callable[..., Study]) -> None:
    settings = compose(f"sweep={choice}", "sweep.trials=2")["sweep"]
    words = ("x=1,2",) if settings["sampler"] is None else ("x=interval(0,10)",)
    assert [trial.state for trial in sweep(*words, settings=settings).trials] == [TrialState.COMPLETE] * 2


@pytest.mark.group("sweep/pruner")
def test_every_pruner_is_asked(choice: str, compose: Callable, sweep: Callable[..., Study]) -> None:
    settings = compose(f"sweep/pruner={choice}")["sweep"]
    assert len(sweep("x=3,9", settings=settings).trials) == 2
