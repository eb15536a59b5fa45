"""The line of progress of a whole sweep."""

import io
from pathlib import Path

import pytest

from sr.runtime import terminal
from sr.sweep.progress import SweepProgress
from sr.sweep.space import Values
from sr.sweep.study import Study

SETTINGS = {"sampler": None, "pruner": {"_target_": "optuna.pruners.NopPruner"}, "trials": 20}


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """A study of eight trials: two with a value, one pruned, one failed, two running."""
    study = Study(tmp_path, {"x": Values(tuple("12345678"))}, SETTINGS, ["maximize"], seed=0)
    trials = [study.start_trial() for _ in range(6)]
    study.record_success(0, [29.5])
    study.record_success(1, [30.25])
    study.record_pruned(2)
    study.record_failure(trials[3], "out of memory")
    return study


def test_it_says_how_many_trials_are_in_which_state(study: Study) -> None:
    assert SweepProgress(study, ["psnr"]).describe() == "running 2, pruned 1, failed 1, best psnr 30.25"


def test_in_a_log_file_it_is_a_line_a_minute(
    study: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    now = [0.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    progress = SweepProgress(study, ["psnr"])
    for second in range(150):
        now[0] = float(second)
        progress.update()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("sweep:  50%, 4 of 8 [")
    assert lines[0].endswith("running 2, pruned 1, failed 1, best psnr 30.25]")


def test_it_can_be_switched_off(study: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(terminal.ProgressBar, "is_enabled", False)
    progress = SweepProgress(study, ["psnr"])
    progress.update(is_forced=True)
    progress.close()
    assert capsys.readouterr().err == ""


def test_messages_stand_above_the_bar(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    progress = SweepProgress(study, ["psnr"])
    progress.update(is_forced=True)
    progress.write("trial 7: x=7")
    lines = stream.getvalue().replace("\r", "\n").split("\n")
    assert "trial 7: x=7" in lines
    assert any("4/8" in line and "running 2, pruned 1, failed 1, best psnr 30.25" in line for line in lines)
    progress.close()
