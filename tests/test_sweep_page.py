"""The page of a sweep, its plots and importances, and its summary run. Trials are recorded without running anything."""

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import optuna.visualization
import pytest
import test_page
from conftest import wait_for
from optuna.trial import FrozenTrial

from sr.record.identity import Identity, write_identity
from sr.record.journal_format import JOURNAL_FILE, read_entries
from sr.reproduction.recorded_run import read_run
from sr.runtime.error import UserError
from sr.sweep import page_writer, plots
from sr.sweep.definition import Definition, make_definition
from sr.sweep.importance import compute_importances, find_obstacle
from sr.sweep.page import SweepState, build_page, format_importances
from sr.sweep.page_writer import PageWriter, write_page
from sr.sweep.plots import draw_charts
from sr.sweep.space import split_overrides
from sr.sweep.study import FOLDER, SECONDS, Study
from sr.sweep.summary_run import log_summary_run, summarize_sweep
from sr.track.address import format_run_address
from sr.track.sync import sync_runs
from sr.training.resume import _find_named_run

browser = test_page.browser  # the fixture
NO_PRUNER = {"_target_": "optuna.pruners.NopPruner"}
SETTINGS = {"sampler": {"_target_": "optuna.samplers.RandomSampler"}, "pruner": NO_PRUNER, "trials": 20}
SPACE = ("lr=tag(log,interval(1e-4,1e-2))", "width=8,16")
Record = Callable[..., "SweepReader"]


class SweepReader(NamedTuple):
    study: Study
    folder: Path
    definition: Definition

    def __call__(self) -> SweepState:
        return SweepState.read(self.study, self.folder, self.definition, format_command)


def format_command(trial: FrozenTrial) -> str:
    return shlex.join(["python", "-m", "sr.run", *(f"{key}={value}" for key, value in trial.params.items())])


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """Return a function that records trials and returns the reader of the sweep's state.

    A result is a value, several values, a reason why the trial failed, None (it goes on), or a function of the options.
    """

    def record(*results: Any, objectives: tuple[str, ...] = ("psnr",), space: tuple[str, ...] = SPACE) -> Any:
        folder = tmp_path / "runs" / "sweeps" / "mine"
        folder.mkdir(parents=True, exist_ok=True)
        fixed, dimensions = split_overrides(["scale=2", *space], is_grid=False)
        directions = {name: "maximize" if name == "psnr" else "minimize" for name in objectives}
        definition = make_definition(fixed, dimensions, SETTINGS, directions)
        if not (folder / "sweep.yaml").exists():
            definition.store(folder)
        study = Study(folder, dimensions, SETTINGS, list(directions.values()), seed=0, commit="0123456789")
        for result in results:
            trial = study.start_trial()
            trial.set_user_attr(FOLDER, str(tmp_path / "runs" / f"run {trial.number}"))
            trial.set_user_attr(SECONDS, 2.5)
            value = result(trial.params) if callable(result) else result
            if isinstance(value, str):
                study.record_failure(trial, value)
            elif value is not None:
                study.record_success(trial.number, list(value) if isinstance(value, tuple) else [value])
        (folder / "table.txt").write_text("trial  psnr\n")
        return SweepReader(study, folder, definition)

    return record


# The page.


def test_the_page_has_the_best_command_the_trials_and_their_reasons(record: Record, tmp_path: Path) -> None:
    server = Identity(run_id="ab12", uri="https://me:secret@tracking.org/mlflow/")
    (tmp_path / "runs" / "run 1").mkdir(parents=True)
    write_identity(tmp_path / "runs" / "run 1", server)
    state = record(30.5, 31.25, "out of memory <2 GB>", 29.0, None)()
    html = build_page(state).render()
    assert "<dt>commits of sr</dt><dd>0123456789</dd>" in html
    assert "5 of 20 trials: 3 finished, 1 failed, 1 unfinished. psnr: more is better." in html
    (best,) = re.findall(r"<code>(.*?)</code>", html)
    assert best == format_command(state.trials[0])
    assert state.trials[0].number == 1
    rows = re.findall(r"<tr>(.*?)</tr>", html.split('id="trials"')[1].split('id="definition"')[0], re.DOTALL)[1:]
    cells = [re.findall(r">([^<>]*)(?:</a>)?</t[hd]>", row) for row in rows]
    assert [row[:3] for row in cells] == [
        ["1", "finished", "31.2500"],
        ["0", "finished", "30.5000"],
        ["3", "finished", "29.0000"],
        ["2", "failed", "–"],
        ["4", "unfinished", "–"],
    ]
    assert cells[3][-1] == "out of memory &lt;2 GB&gt;"
    assert 'href="../../run%201"' in rows[0]
    assert 'href="https://tracking.org/mlflow/#/runs/ab12"' in rows[0]
    assert "secret" not in html
    assert html.count("tracking.org") == 1


def test_a_run_in_a_database_has_no_address() -> None:
    assert format_run_address(Identity(run_id="ab12", uri="sqlite:////tmp/mlflow.db")) is None
    assert format_run_address(Identity(uri="https://a.b")) is None
    assert format_run_address(None) is None


def test_the_front_of_two_objectives_is_on_the_page(record: Record) -> None:
    results = [(30.0, 5.0), (31.0, 9.0), (29.0, 6.0), (32.0, 20.0), (31.0, 10.0)]
    html = build_page(record(*results, objectives=("psnr", "ms_per_image"))()).render()
    front = html.split('id="pareto-front"')[1].split('id="charts"')[0]
    assert re.findall(r"Trial (\d):", front) == ["3", "1", "0"]
    assert "psnr: more is better; ms_per_image: less is better" in html
    assert "Optimization history of ms_per_image" in html


@pytest.mark.parametrize(
    ("results", "notes"),
    [
        ([], {"Timeline", "Optimization history of psnr"}),
        (["failed", "failed"], {"Optimization history of psnr", "Parallel coordinates of psnr"}),
        ([30.0], {"Optimization history of psnr", "psnr by option", "Parameter importances for psnr"}),
        ([30.0, 31.0], {"Parameter importances for psnr", "Validations: psnr by step"}),
    ],
)
def test_what_cannot_be_drawn_is_a_note(record: Record, results: list[Any], notes: set[str]) -> None:
    state = record(*results)()
    charts = list(draw_charts(state.copy, state.objectives))
    missing = {chart.title for chart in charts if chart.figure is None}
    assert notes <= missing
    assert all(chart.note for chart in charts if chart.figure is None)
    if len(results) == 2 and results[0] == 30.0:
        assert {c.title for c in charts} - missing == {
            "Optimization history of psnr",
            "Parallel coordinates of psnr",
            "psnr by lr",
            "psnr by width",
            "Timeline",
        }


def test_a_plot_that_fails_is_left_out(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise RuntimeError("no font\nat all")

    monkeypatch.setattr(optuna.visualization, "plot_slice", fail)
    html = build_page(record(30.0, 31.0)()).render()
    assert "psnr by option is not drawn: RuntimeError: no font." in html
    assert "<figcaption>Optimization history of psnr</figcaption>" in html


def test_a_page_that_cannot_be_written_is_a_note(record: Record, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(page_writer, "write_atomic", fail)
    write_page(record(30.0)())
    assert "sweep.html is not up to date (OSError: [Errno 28] No space left on device); the sweep goes on" in (
        capsys.readouterr().err
    )


# Importances.


def test_importances_are_those_of_a_constructed_function(record: Record) -> None:
    """The objective depends on the width alone."""
    state = record(*[lambda params: 30.0 + (params["width"] == "16")] * 20)()
    shares = compute_importances(state.copy, 0)
    assert list(shares) == ["width", "lr"]
    assert shares["width"] > 0.95
    assert sum(shares.values()) == pytest.approx(1.0)
    text = format_importances(state)
    assert "FanovaImportanceEvaluator, from 20 trials, a rough estimate: fewer than 50 trials" in text
    (chart,) = [c.figure for c in draw_charts(state.copy, ["psnr"]) if c.title == "Parameter importances for psnr"]
    assert dict(zip(chart.data[0].y, chart.data[0].x, strict=True)) == pytest.approx(shares)
    assert compute_importances(record()().copy, 0) == pytest.approx(shares, abs=1e-12)  # of the same trials


@pytest.mark.parametrize(
    ("results", "reason"),
    [
        ([30.0] * 9 + ["failed"] * 5, "they need at least 10 trials that have finished (found 9)"),
        ([30.0] * 12, "all trials have the same value"),
        ([30.0] * 8 + [float("inf")] * 4, "they need at least 10 trials that have finished (found 8)"),
    ],
)
def test_without_enough_trials_there_are_no_importances(record: Record, results: list[Any], reason: str) -> None:
    state = record(*results)()
    assert find_obstacle(state.copy, 0) == reason
    assert format_importances(state) == f"No importances for psnr: {reason}.\n"


# When the page is written.


def test_the_page_takes_a_small_share_of_the_time(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first page, of 4 CPU seconds, is written after 130 s at 3%; one that took 0.6 s, after another 20 s."""
    clock, written = [1000.0], []
    monkeypatch.setattr(page_writer.time, "monotonic", lambda: clock[0])
    cpu = iter([0.0, 0.6] * 9)
    monkeypatch.setattr(page_writer.time, "thread_time", lambda: next(cpu))
    monkeypatch.setattr(page_writer, "write_page", lambda state: written.append(clock[0]))
    read_state = record(30.0)
    writer = PageWriter(read_state.study, read_state, max_share=0.03)
    for seconds in range(1000, 1200):
        clock[0] = float(seconds)
        writer.update()
        writer.stop()
    assert written == [1130.0, 1150.0, 1170.0, 1190.0]


def test_at_the_end_the_page_is_written_if_a_trial_has_ended(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    monkeypatch.setattr(page_writer, "write_page", lambda state: written.append(len(state.trials)))
    sweep = record(30.0)
    PageWriter(sweep.study, sweep).finish()  # there is no page yet
    (sweep.folder / "sweep.html").touch()
    PageWriter(sweep.study, sweep).finish()
    assert written == [1]
    writer = PageWriter(sweep.study, sweep)
    trial = sweep.study.start_trial()
    sweep.study.record_success(trial.number, [31.0])
    assert writer.finish().best[0].values == [31.0]
    assert written == [1, 2]


def test_charts_with_a_line_for_each_trial_have_a_limit(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "MAX_LINES", 2)
    state = record(30.0, 31.0, 32.0)()
    notes = {chart.title: chart.note for chart in draw_charts(state.copy, state.objectives) if chart.figure is None}
    assert notes["Parallel coordinates of psnr"] == "it has a line for each of 3 trials, and at most 2"


# The summary run.


def test_the_values_of_a_summary(record: Record) -> None:
    results = [(30.0, 5.0), (31.0, 9.0), "failed", None]
    assert summarize_sweep(record(*results, objectives=("psnr", "ms_per_image"))()) == {
        "sweep/finished": 2,
        "sweep/pruned": 0,
        "sweep/failed": 1,
        "sweep/unfinished": 1,
        "sweep/seconds": 10.0,
        "sweep/best_psnr": 31.0,
        "sweep/best_ms_per_image": 5.0,
    }


def make_config(runs: Path, tracker: str = "journal.Journal") -> dict[str, Any]:
    track = {"_target_": f"sr.track.{tracker}"} | ({} if tracker == "none.NoTracker" else {"runs": str(runs)})
    return {"track": track, "paths": {"runs": str(runs)}}


def read_journal(folder: Path) -> list[dict[str, Any]]:
    return [placed.entry for placed in read_entries(folder / JOURNAL_FILE)]


def test_a_sweep_that_is_extended_continues_its_summary_run(record: Record, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    state = record(30.0, 31.0)()
    (state.folder / "sweep.html").write_text("<p>2</p>")
    folder = log_summary_run(state, make_config(runs), ["-m", "lr=1,2"])
    first = read_journal(folder)
    assert log_summary_run(state, make_config(runs), ["-m", "lr=1,2"]) == folder
    assert read_journal(folder) == first  # it has all trials
    opening = first[0]["open"]
    assert opening["title"] == "sweep mine"
    assert opening["tags"]["sr.sweep"] == "mine"
    assert opening["tags"]["sr.verb"] == "sweep"
    assert "sr.trial" not in opening["tags"]
    assert opening["params"] == {
        "scale": "2",
        "lr": "tag(log,interval(0.0001,0.01))",
        "width": "8,16",
        "sweep.sampler": "RandomSampler()",
        "sweep.pruner": "NopPruner()",
        "sweep.objective": "psnr",
    }

    state = record(32.0)()
    (state.folder / "sweep.html").write_text('<a href="../../run">3</a>')
    assert log_summary_run(state, make_config(runs), ["-m", "lr=1,2"]) == folder
    entries = read_journal(folder)
    assert [entry["points"]["sweep/best_psnr"] for entry in entries if "points" in entry] == [31.0, 32.0]
    assert [entry["status"] for entry in entries if "status" in entry] == ["FINISHED", "FINISHED"]
    assert sum("open" in entry for entry in entries) == 1
    assert (folder / "sweep.html").read_text() == '<a href="../run">3</a>'

    shutil.rmtree(folder)  # by sr.clean: then there is a new one
    again = log_summary_run(state, make_config(runs), ["-m", "lr=1,2"])
    assert again.is_dir()


def test_without_a_tracker_there_is_no_summary_run(record: Record, tmp_path: Path) -> None:
    state = record(30.0)()
    assert log_summary_run(state, make_config(tmp_path / "runs", "none.NoTracker"), []) is None
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["sweeps"]


def test_a_summary_run_is_no_training(record: Record, tmp_path: Path) -> None:
    folder = log_summary_run(record(30.0)(), make_config(tmp_path / "runs"), [])
    with pytest.raises(UserError, match=r"summary of a sweep\); name one of its trials"):
        read_run(folder)
    with pytest.raises(UserError, match=r"summary of a sweep\); the sweep.s own command"):
        _find_named_run(str(folder), tmp_path / "runs")


def test_an_error_of_the_tracker_is_a_note(record: Record, tmp_path: Path, capsys: Any) -> None:
    assert log_summary_run(record(30.0)(), make_config(tmp_path / "runs", "unknown.Tracker"), []) is None
    assert "the summary run of the sweep is not complete (" in capsys.readouterr().err


@pytest.mark.long
def test_all_charts_are_drawn_on_a_phone(record: Record, browser: Any) -> None:
    sweep = record(*[lambda params: (30 + params["lr"], 5.0 + params["lr"])] * 12, objectives=("psnr", "ms_per_image"))
    write_page(sweep())
    tab = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark")
    problems = test_page.watch(tab)
    tab.goto(f"file://{sweep.folder}/sweep.html")
    drawn = "[...document.querySelectorAll('.plot')].every(p => p.querySelector('.main-svg'))"
    wait_for(lambda: tab.evaluate(drawn), 60)  # the page forbids eval, which wait_for_function needs
    titles = tab.locator("figcaption").all_inner_texts()
    assert titles == [
        *("Optimization history of psnr", "Parallel coordinates of psnr", "psnr by lr", "psnr by width"),
        *("Parameter importances for psnr", "Optimization history of ms_per_image"),
        *("Parallel coordinates of ms_per_image", "ms_per_image by lr", "ms_per_image by width"),
        *("Parameter importances for ms_per_image", "Pareto front", "Timeline"),
    ]
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert problems == []


@pytest.mark.slow
def test_an_outage_of_mlflow_loses_nothing_of_the_summary_run(record: Record, tmp_path: Path) -> None:
    """Nothing listens at port 9; `sr.sync` sends it to a database."""
    from mlflow import MlflowClient

    state = record(30.0, 31.0, "failed")()
    write_page(state)
    runs, uri = tmp_path / "runs", f"sqlite:///{tmp_path}/mlflow.db"
    track = {"_target_": "sr.track.mlflow.MLflow", "uri": "http://127.0.0.1:9", "runs": str(runs), "experiment": "sr"}
    log_summary_run(state, {"track": track, "paths": {"runs": str(runs)}}, [])
    assert sync_runs([], str(runs), uri)
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("sr").experiment_id
    (run,) = client.search_runs([experiment], "tags.`sr.sweep` = 'mine' AND tags.`sr.verb` = 'sweep'")
    assert run.info.status == "FINISHED"
    assert run.data.metrics["sweep/best_psnr"] == 31.0
    assert run.data.metrics["sweep/failed"] == 1
    names = {item.path for folder in ("", "plots") for item in client.list_artifacts(run.info.run_id, folder)}
    assert names == {
        "importances.txt", "plots", "sweep.html", "sweep.yaml", "table.txt",
        "plots/history.png", "plots/parallel_coordinates.png", "plots/slices.png", "plots/timeline.png",
    }  # fmt: skip
