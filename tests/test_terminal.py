"""What commands print: progress bars in a terminal, in a log file, and not at all; sizes that can be read."""

import io
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from tqdm import tqdm

from sr.runtime import terminal
from sr.runtime.terminal import ProgressBar, format_bytes, format_table, silence_library_warnings


class Clock:
    """A time that passes only when a test moves it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("tqdm.std.time", lambda: self.now)
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


class Terminal(io.StringIO):
    """A file that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def advance(bar: ProgressBar, clock: Clock, seconds: int) -> None:
    for _ in range(seconds):
        clock.now += 1
        bar.update()
        bar.set_postfix(loss=0.5)  # asks for a refresh


def test_a_log_file_gets_a_line_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, log = Clock(monkeypatch), io.StringIO()
    with ProgressBar(total=600, desc="train", unit="step", file=log) as bar:
        advance(bar, clock, 600)
        tqdm.write("skipped: a.png", file=log)
    lines = log.getvalue().splitlines()
    assert "\r" not in log.getvalue()
    assert lines.count("skipped: a.png") == 1
    assert 9 <= len(lines) <= 12
    assert lines[0].startswith("train:  10%, 60 of 600 [01:00<")
    assert [line[:23] for line in lines if "100%" in line] == ["train: 100%, 600 of 600"]


def test_a_short_command_writes_nothing_to_a_log_file(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, log = Clock(monkeypatch), io.StringIO()
    for bar in (ProgressBar(range(5), file=log), ProgressBar(total=50, file=log, delay=1)):
        advance(bar, clock, 5)
        bar.close()
    assert log.getvalue() == ""


@pytest.mark.parametrize("is_enabled", [True, False])
def test_a_terminal_shows_a_bar_unless_it_is_turned_off(monkeypatch: pytest.MonkeyPatch, is_enabled: bool) -> None:
    monkeypatch.setattr(ProgressBar, "is_enabled", is_enabled)
    screen = Terminal()
    assert list(ProgressBar(range(3), desc="decoding", file=screen)) == [0, 1, 2]
    assert ("\rdecoding: 100%|" in screen.getvalue()) == is_enabled


def test_the_option_is_true_or_false_and_no_part_of_the_config(sr: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ProgressBar, "is_enabled", True)
    seen = []
    monkeypatch.setattr("sr.verify.schema.to_plain", lambda cfg: seen.append(dict(cfg)) or 1 / 0)
    sr("verify", "progress=false")
    assert not ProgressBar.is_enabled
    assert "progress" not in seen[0]
    answer = sr("verify", "progress=never")
    assert answer.code == 2
    assert "progress=never: expected true or false" in answer.err


def test_every_bar_can_be_turned_off() -> None:
    """All are `ProgressBar`s: tqdm itself is only used to write beside them."""
    package = Path(terminal.__file__).parents[1]
    modules = [path for path in package.rglob("*.py") if path != Path(terminal.__file__)]
    assert [path.name for path in modules if " tqdm(" in path.read_text() or "(tqdm(" in path.read_text()] == []


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (41_300, "41.3 kB"),
        (412e6, "412 MB"),
        (4_130_000_000, "4.1 GB"),
        (2e15, "2000 TB"),
    ],
)
def test_sizes_have_a_unit_that_fits(count: float, text: str) -> None:
    assert format_bytes(count) == text


def test_a_table_continues_below_where_it_is_too_wide() -> None:
    """Every cell stands once, under its header and beside its row's name, and no line is wider than asked."""
    rows = [("set", *(f"metric{k} (bicubic)" for k in range(9))), ("Set5", *range(9)), ("Urban100", *range(10, 19))]
    parts = [part.splitlines() for part in format_table(rows, 80).split("\n\n")]
    assert [len(part) for part in parts] == [4, 4, 4]
    assert max(len(line) for part in parts for line in part) <= 80
    assert [part[0].split()[0] for part in parts] == ["set"] * 3
    assert [cell for part in parts for cell in part[3].split()[1:]] == [str(k) for k in range(10, 19)]
    assert len(format_table(rows).splitlines()[0]) > 80


def test_warnings_are_wrapped_once_however_many_runs_a_sweep_has() -> None:
    before = warnings.formatwarning
    try:
        silence_library_warnings()
        first = warnings.formatwarning
        silence_library_warnings()
        assert warnings.formatwarning is first
        assert first("model.x=1: odd", UserWarning, "file.py", 3) == "note: model.x=1: odd\n"
        assert first("of a library", UserWarning, "file.py", 3).startswith("file.py:3: UserWarning: of a library")
    finally:
        warnings.formatwarning = before
    long = format_table([("set", "PSNR", "SSIM"), ("n" * 200 + "a", 1, 2), ("n" * 200 + "b", 3, 4)], 80)
    assert [line.split()[1:] for line in long.splitlines()] == [["PSNR", "SSIM"], [], ["1", "2"], ["3", "4"]]
    assert [line[39] for line in long.splitlines()[2:]] == ["a", "b"]
