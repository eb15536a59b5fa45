"""What a sweep prints at its end, and its CSV file."""

import csv
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from sr.sweep.result import SweepResult
from sr.sweep.space import Values
from sr.sweep.study import Study

SETTINGS = {"sampler": None, "pruner": {"_target_": "optuna.pruners.NopPruner"}, "trials": 20}
WORDS = ("--config-dir=my parts", "paths.runs=/my runs", "scale=3")


@pytest.fixture
def make_result(tmp_path: Path) -> Callable[..., SweepResult]:
    """Return a function that makes the result of trials with these values; None is a trial that has failed."""

    def make(*values: list[float] | None) -> SweepResult:
        directions = ["maximize", "minimize"][: len(next(v for v in values if v))]
        space = {"model/net": Values(tuple("abcdefgh"[: len(values)]))}
        study = Study(tmp_path, space, SETTINGS, directions, seed=0)
        for value in values:
            trial = study.start_trial()
            if value is None:
                study.record_failure(trial, "out of memory")
            else:
                study.record_success(trial.number, value)
        return SweepResult(study, tmp_path, ["psnr", "ms_per_image"][: len(directions)], list(space), WORDS)

    return make


def read_lines(text: str) -> dict[str, list[str]]:
    """Return what is behind the first word of each line, as a shell reads it, without the Python interpreter."""
    rows = [(line[:12].strip(), shlex.split(line[12:])) for line in text.splitlines() if line and line[0].isalpha()]
    return {name: words[1:] if "-m" in words else words for name, words in rows}


def test_the_next_commands_can_be_pasted_into_a_shell(
    make_result: Callable[..., SweepResult], capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    make_result([30.0], [31.0]).print(can_grow=True, has_tests=True)
    lines = read_lines(capsys.readouterr().out)
    assert lines["best trial"] == ["-m", "sr.run", *WORDS, "model/net=b"]
    assert lines["compare"] == ["-m", "sr.compare", f"runs=sweep:{tmp_path.name}", "paths.runs=/my runs"]
    assert lines["more"] == "the same command with sweep.trials=4".split()
    assert lines["again"] == "the same command with sweep.name=…".split()


def test_no_file_and_no_line_has_a_password_that_was_typed(
    make_result: Callable[..., SweepResult], capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    result = make_result([30.0], [31.0])
    result.words = [*WORDS, "track.uri=https://me:hunter2@tracking.org"]
    result.write()
    result.print(can_grow=True, has_tests=True)
    assert "hunter2" not in capsys.readouterr().out + (tmp_path / "trials.csv").read_text()
    assert "tracking.org" in (tmp_path / "trials.csv").read_text()


def test_without_tests_there_is_nothing_to_compare_and_a_grid_does_not_grow(
    make_result: Callable[..., SweepResult], capsys: pytest.CaptureFixture
) -> None:
    make_result([30.0], [31.0]).print(can_grow=False, has_tests=False)
    assert not {"compare", "more"} & read_lines(capsys.readouterr().out).keys()


def test_failed_trials_end_the_command_with_exit_code_3(
    make_result: Callable[..., SweepResult], capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit) as end:
        make_result([30.0], None, None).print(can_grow=False, has_tests=True)
    out, err = capsys.readouterr()
    assert end.value.code == 3
    assert "2 of 3 trials failed" in err
    assert "trial 1: out of memory" in out


def test_of_several_objectives_each_trial_of_the_front_has_its_command(
    make_result: Callable[..., SweepResult], capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    """Trial 1 is worse than trial 0 in both; the others are better in one objective each."""
    result = make_result([30.0, 5.0], [29.0, 6.0], [31.0, 9.0])
    result.write()
    result.print(can_grow=False, has_tests=False)
    lines = read_lines(capsys.readouterr().out)
    assert lines["front 2"][-1] == "model/net=c"
    assert lines["front 0"][-1] == "model/net=a"
    assert "front 1" not in lines
    rows = list(csv.DictReader((tmp_path / "trials.csv").open()))
    assert [(row["trial"], row["front"], row["psnr"]) for row in rows] == [
        ("2", "front", "31.0"), ("0", "front", "30.0"), ("1", "", "29.0")]  # fmt: skip
    assert all(shlex.split(row["command"])[-1] == f"model/net={row['model/net']}" for row in rows)


def test_the_csv_file_of_an_unfinished_sweep_has_its_total(
    make_result: Callable[..., SweepResult], tmp_path: Path
) -> None:
    result = make_result([30.0], [29.0])
    result.study.total = 24
    result.write()
    assert [row["total"] for row in csv.DictReader((tmp_path / "trials.csv").open())] == ["24", "24"]
