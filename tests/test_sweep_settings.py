"""The options `sweep.*`: which are refused before anything is composed, and that a restart does not change the trials."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sr.runtime.error import UserError
from sr.sweep.settings import check_objectives, check_parts, check_settings, list_random_options
from sr.sweep.space import split_overrides
from sr.sweep.study import Study

NO_PRUNER = {"_target_": "optuna.pruners.NopPruner"}
MEDIAN = {"_target_": "optuna.pruners.MedianPruner"}
POOL = {"_target_": "sr.sweep.pool.process.ProcessPool"}
TPE = {"_target_": "optuna.samplers.TPESampler"}
CMAES = {"_target_": "optuna.samplers.CmaEsSampler"}


def make_settings(**settings: Any) -> dict[str, Any]:
    return {"name": None, "trials": 20, "jobs": 1, "sampler": TPE, "pruner": NO_PRUNER, "pool": POOL} | settings


def check(settings: dict[str, Any], *words: str) -> None:
    _, space = split_overrides(words, is_grid=settings["sampler"] is None)
    check_settings(settings, space, words)
    check_parts(settings)


@pytest.mark.parametrize(
    ("settings", "words", "message"),
    [
        ({}, ["scale=2"], "-m: expected an option that varies"),
        ({"trials": 0}, ["lr=interval(0,1)"], "sweep.trials=0: expected a whole number, 1 or more"),
        ({"trials": True}, ["lr=interval(0,1)"], "sweep.trials=true"),
        ({"jobs": "two"}, ["lr=interval(0,1)"], "sweep.jobs=two: expected a whole number, 1 or more"),
        ({"name": "../x"}, ["lr=interval(0,1)"], "sweep.name=../x: expected a name for a folder"),
        ({"name": "a/b"}, ["lr=interval(0,1)"], "sweep.name=a/b: expected a name for a folder"),
        ({"name": ""}, ["lr=interval(0,1)"], "sweep.name=: expected a name for a folder"),
        ({"name": "my sweep"}, ["lr=interval(0,1)"], "sweep.name=my sweep: expected a name for a folder"),
        ({"name": 7}, ["lr=interval(0,1)"], "sweep.name=7: expected a name for a folder"),
        ({"sampler": None}, ["a=range(0,100)", "b=range(0,200)"], "at most 10,000 combinations (found 20,000)"),
        ({"sampler": None}, ["seed=0,1", "sweep.trials=5"], "sweep.trials=5: a grid has one trial for each of its 2"),
        ({}, ["seed=0,1"], "sweep.trials=20: the search space has 2 points in all; type sweep=grid, or fewer trials"),
        ({}, ["seed=choice(0)"], "sweep.trials=20: the search space has 1 points in all"),
        ({"sampler": TPE | {"n_startup_trials": -1}}, ["lr=interval(0,1)"], "sweep.sampler.n_startup_trials=-1: expected"),
        ({"sampler": {"_target_": "optuna.samplers.NSGAIISampler", "population_size": 1}}, ["lr=interval(0,1)"],
         "sweep.sampler: `population_size` must be greater than or equal to 2."),
        ({"pruner": MEDIAN | {"n_warmup_steps": -5}}, ["lr=interval(0,1)"], "sweep.pruner.n_warmup_steps=-5: expected"),
        ({"sampler": CMAES}, ["loss=l1,mse", "lr=interval(0,1)", "sweep=cmaes"], "sweep=cmaes: expected two intervals or more"),
        ({}, ["lr=interval(0,1)", "resume=runs/some_run"], "resume=runs/some_run: a sweep makes new runs"),
    ],
)  # fmt: skip
def test_wrong_settings_are_refused(settings: dict[str, Any], words: list[str], message: str) -> None:
    with pytest.raises(UserError) as refusal:
        check(make_settings(**settings), *[word for word in words if not word.startswith("sweep=")])
    assert str(refusal.value).startswith(message) or message in str(refusal.value)


def test_right_settings_are_accepted() -> None:
    check(make_settings(), "lr=interval(0,1)", "resume=auto")
    check(make_settings(trials=4), "seed=0,1", "scale=2,3")
    check(make_settings(sampler=None), "seed=choice(0)")
    check(make_settings(pruner={"_target_": "optuna.pruners.ThresholdPruner", "lower": -1.0}), "lr=interval(0,1)")


@pytest.mark.parametrize(
    ("settings", "objectives", "stages", "message"),
    [
        ({}, ["psnr"], ["test"], "stages=[test]: a sweep compares what it has trained"),
        ({"pruner": MEDIAN}, ["psnr", "seconds"], ["fit"], "sweep/pruner: trials are pruned by one objective only"),
        ({"sampler": CMAES}, ["psnr", "seconds"], ["fit"], "sweep.objective=[psnr,seconds]: sweep=cmaes has one"),
        ({"jobs": 2}, ["psnr", "ms_per_image"], ["fit"], "sweep.jobs=2: expected 1 with the objective ms_per_image"),
    ],
)
def test_objectives_that_do_not_fit_are_refused(
    settings: dict[str, Any], objectives: list[str], stages: list[str], message: str
) -> None:
    with pytest.raises(UserError) as refusal:
        check_objectives(make_settings(**settings), objectives, {"stages": stages})
    assert str(refusal.value).startswith(message)


def test_options_that_are_chosen_at_random_are_named() -> None:
    _, space = split_overrides(["loss=l1,mse", "lr=interval(0,1)", "width=range(1,9,2)"], is_grid=False)
    assert list_random_options(make_settings(sampler=CMAES), space) == ["loss"]
    assert list_random_options(make_settings(), space) == []
    assert list_random_options(make_settings(sampler=None), space) == []


@pytest.mark.group("sweep")
def test_a_restart_does_not_change_the_trials(choice: str, compose: Callable, tmp_path: Path) -> None:
    """Each sampler gets its random numbers from the seed and the trial's number, and all else from the stored trials."""
    trials = {"nsga2": 16, "cmaes": 9}.get(choice, 6)
    settings = compose(f"sweep={choice}", f"sweep.trials={trials}")["sweep"]
    options = {"population_size": 4} if choice == "nsga2" else {"n_startup_trials": 2} if choice == "tpe" else {}
    settings["sampler"] = settings["sampler"] and settings["sampler"] | options
    words = ("x=1,2,3", "y=1,2") if settings["sampler"] is None else ("x=interval(0,10)", "y=int(interval(1,50))")
    _, space = split_overrides(words, is_grid=settings["sampler"] is None)

    def run(name: str, *, restart: bool) -> list[dict[str, Any]]:
        (tmp_path / name).mkdir()
        study = None
        while True:
            if study is None or restart:
                study = Study(tmp_path / name, space, settings, ["maximize"], seed=5)
            trial = study.start_trial()
            if trial is None:
                return [trial.params for trial in study.trials]
            runs[name] += 1
            x, y = float(trial.params["x"]), float(trial.params["y"])
            study.record_success(trial.number, [-((x - 3) ** 2) - (y - x) ** 2])

    runs = {"whole": 0, "restarted": 0}
    whole = run("whole", restart=False)
    assert run("restarted", restart=True) == whole
    # NSGA-II chooses some options again, and such a trial gets the result of the first one without a run.
    assert runs["whole"] == runs["restarted"] == len({tuple(params.values()) for params in whole})
    assert len(whole) == trials
