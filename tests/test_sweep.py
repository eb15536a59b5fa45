"""Sweeps: the search space, and that a sweep gets exactly its trials, however trials and processes end.

Trials are processes of `trial_stub.py`; whole runs are in test_sweep_whole.py.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from sr.runtime.error import UserError
from sr.sweep import scheduler
from sr.sweep.definition import make_definition
from sr.sweep.objective import read_values
from sr.sweep.pool.process import ProcessPool
from sr.sweep.scheduler import Scheduler, list_failures
from sr.sweep.space import Interval, Space, Values, list_examples, list_points, split_overrides, to_words
from sr.sweep.study import FOLDER, REASON, Study
from sr.sweep.table import format_trials, trials_to_csv

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
        pool = ProcessPool(jobs, is_on_gpu=False, fork_server=False)
        Scheduler(study, folder, base, list(objectives), jobs, lambda: None, pool).run()
        return study

    return run


# The search space.


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("seed=0,1,2", Values(("0", "1", "2"))),
        ("model/net=choice(espcn,edsr)", Values(("espcn", "edsr"))),
        ("data.test=[Set5],[Set5,Set14]", Values(("[Set5]", "[Set5,Set14]"))),
        ("patience=null,3", Values(("null", "3"))),
        ("lr=interval(0,1)", Interval(0.0, 1.0)),
        ("lr=tag(log,interval(1e-4,1e-2))", Interval(1e-4, 1e-2, is_log=True)),
        ("width=int(interval(8,64))", Interval(8, 64)),
        ("width=range(1,9,2)", Interval(1, 7, step=2)),
    ],
)
def test_words_are_read_as_hydra_reads_them(word: str, expected: Values | Interval) -> None:
    key = word.partition("=")[0]
    fixed, space = split_overrides(["scale=2", word], is_grid=False)
    assert (fixed, space) == (["scale=2"], {key: expected})


def test_a_range_of_a_grid_is_a_list() -> None:
    assert split_overrides(["width=range(1,9,2)"], is_grid=True)[1] == {"width": Values(("1", "3", "5", "7"))}


@pytest.mark.parametrize(
    ("word", "is_grid", "message"),
    [
        ("lr=interval(0,1)", True, "sweep=tpe"),
        ("lr=interval(1,0)", False, "the smaller one first"),
        ("lr=interval(1,1)", False, "the smaller one first"),
        ("lr=tag(log,interval(0,1))", False, "above 0 on a logarithmic scale"),
        ("lr=tag(lin,interval(1,2))", False, "expected the tag log"),
        ("seed=0,0", True, "found one twice"),
        ("net=glob(*)", True, "found glob"),
        ("seed=choice()", True, "cannot read"),
        ("width=range(3,3)", False, "empty range"),
        ("width=range(3,3)", True, "found none"),
    ],
)
def test_a_wrong_search_space_is_refused_with_its_word(word: str, is_grid: bool, message: str) -> None:
    with pytest.raises(UserError) as refusal:
        split_overrides([word], is_grid)
    assert word in str(refusal.value)
    assert message in str(refusal.value)


def test_an_option_varies_once() -> None:
    with pytest.raises(UserError, match="found seed twice"):
        split_overrides(["seed=0,1", "seed=2,3"], is_grid=True)


def test_a_grid_has_every_combination_the_last_option_fastest() -> None:
    _, space = split_overrides(["net=a,b", "seed=0,1"], is_grid=True)
    assert [to_words(point) for point in list_points(space)] == [
        ["net=a", "seed=0"], ["net=a", "seed=1"], ["net=b", "seed=0"], ["net=b", "seed=1"]]  # fmt: skip


def test_every_value_is_checked_at_least_once() -> None:
    _, space = split_overrides(["net=a,b,c", "lr=interval(1,2)"], is_grid=False)
    words = {word for point in list_examples(space) for word in to_words(point)}
    assert words == {"net=a", "net=b", "net=c", "lr=1.0", "lr=2.0"}


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
    assert table.splitlines()[2].split()[:3] == ["3", "3", "-0.0000"]  # the best first
    assert "trial 1: x: expected another number" in table
    assert trials_to_csv(study.sort_trials(), ["psnr"], ["x"]).count(",fail,") == 2


def test_a_trial_that_was_running_is_resumed_and_one_that_had_finished_is_only_recorded(
    sweep: Callable[..., Study], tmp_path: Path
) -> None:
    """As after a SIGKILL of the sweep: Optuna's journal says that both are running."""
    import torch

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
    torch.save({"step": 1}, tmp_path / "half" / LAST)
    study = sweep("x=1,2,3")
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 3
    assert study.trials[0].values == [7.0]
    first, _ = read_started(tmp_path)
    assert first.startswith(f"paths.runs={tmp_path} x=2 resume=")


def test_bad_trials_are_pruned(sweep: Callable[..., Study]) -> None:
    settings = GRID | {"pruner": {"_target_": "optuna.pruners.MedianPruner", "n_startup_trials": 2}}
    study = sweep("x=3,2,9", "steps=4", settings=settings)
    states = {trial.params["x"]: trial.state for trial in study.trials}
    assert states == {"3": TrialState.COMPLETE, "2": TrialState.COMPLETE, "9": TrialState.PRUNED}
    assert len(study.trials[2].intermediate_values) < 4


def test_two_objectives_give_the_pareto_front(sweep: Callable[..., Study]) -> None:
    """PSNR is −(x − 3)², the cost |x|: every x from 0 to 3 is better in one of them than any other; −1 and 5 are not."""
    study = sweep("x=-1,0,1,2,3,5", objectives=("psnr", "train_seconds"))
    front = {trial.params["x"] for trial in study.list_best()}
    assert front == {"0", "1", "2", "3"}


# The definition and the objectives.


def test_the_name_follows_from_the_definition() -> None:
    _, space = split_overrides(["model/net=a,b", "seed=0,1"], is_grid=True)
    name = make_definition(["scale=2", "paths.runs=/a"], space, GRID, ["psnr"]).derive_name()
    assert name.startswith("net-seed-")
    assert make_definition(["paths.runs=/b", "scale=2"], space, GRID, ["psnr"]).derive_name() == name
    assert make_definition(["scale=3"], space, GRID, ["psnr"]).derive_name() != name


def test_another_definition_of_the_same_name_is_refused(tmp_path: Path) -> None:
    space: Space = {"seed": Values(("0", "1"))}
    make_definition(["scale=2"], space, GRID, ["psnr"]).store(tmp_path)
    make_definition(["scale=2", "paths.runs=/b"], space, GRID, ["psnr"]).store(tmp_path)
    with pytest.raises(UserError, match=r"another sweep\.name") as refusal:
        make_definition(["scale=2"], {"seed": Values(("0", "1", "2"))}, GRID, ["psnr"]).store(tmp_path)
    assert "space.seed 0,1 -> 0,1,2" in str(refusal.value)


def test_objectives_are_read_from_the_summary(tmp_path: Path) -> None:
    from sr.record.result import SUMMARY_FILE, TrainingResult

    metrics = {"best/val/Set5/psnr": 30.0, "best/val/Set14/psnr": 28.0, "best/step": 9, "test/Set5/psnr": 1.0}
    result = TrainingResult(status="FINISHED", metrics=metrics, train_seconds=7.5)
    (tmp_path / SUMMARY_FILE).write_text(result.to_json())
    assert read_values(tmp_path, ["psnr", "train_seconds", "val/Set14/psnr"]) == [30.0, 7.5, 28.0]
    assert read_values(tmp_path, ["ssim"]) is None
    assert read_values(tmp_path / "nothing", ["psnr"]) is None


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


# The command.


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trainer.max_steps=2"], "expected an option that varies"),
        (["scale=2,5"], "scale=5: expected one of 2, 3, 4, 8"),
        (["model/net=espcn,edzr"], "edzr"),
        (["seed=0,1", "sweep.trials=0"], "sweep.trials=0"),
        (["seed=0,1", "sweep.jobs=two"], "sweep.jobs=two"),
        (["seed=0,1", "sweep.name=../x"], "sweep.name=../x"),
        (["seed=0,1", "sweep.objective=beauty"], "sweep.objective=beauty: expected one of psnr, ssim"),
        (["seed=range(0,100)", "data.batch=range(1,200)", "data.patch=range(1,200)"], "at most 10000 combinations"),
        (["model.optimizer.lr=interval(1e-4,1e-2)"], "type sweep=tpe"),
        (["sweep=tpes", "seed=0,1"], "tpe"),
        (["seed=0,1", "sweep/pruner=median", "sweep.objective=[psnr,train_seconds]"], "one objective only"),
        (["seed=0,1", "sweep.trails=3"], "sweep.trials"),
    ],
)
def test_a_wrong_sweep_is_refused_before_anything_trains(
    sr: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.setenv("SR_RUNS", str(tmp_path / "runs"))
    answer = sr("run", "-m", *words)
    assert answer.code == 2, answer.err
    assert message in answer.err
    assert "Traceback" not in answer.err
    assert not (tmp_path / "runs").exists()


def test_the_wrong_trial_is_named(sr: Callable) -> None:
    assert "(in the trial scale=5 seed=0; nothing was run)" in sr("run", "-m", "scale=2,5", "seed=0,1").err


def test_a_sweep_without_m_is_refused(sr: Callable) -> None:
    answer = sr("run", "sweep=tpe")
    assert (answer.code, "a sweep needs -m: python -m sr.run -m sweep=tpe" in answer.err) == (2, True)
