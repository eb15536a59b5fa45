"""The journal: it holds everything that a run reported, whatever happens to its process, its disk and the server."""

import errno
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from sr.record.identity import find_run, psutil, read_identity, write_identity
from sr.record.journal_format import JOURNAL_FILE, Entry, list_points, read_entries
from sr.record.orphans import mark_orphaned_runs
from sr.runtime.error import DiskError, UserError
from sr.track.device_values import read_numbers
from sr.track.journal import Journal


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    folder = tmp_path / "20260101-000000_run"
    folder.mkdir()
    tracker = Journal(str(tmp_path))
    tracker.start("a run", folder, {"scale": "2"}, ["scale=2"], {"sr.verb": "run"})
    return tracker


def read_all(tracker: Journal) -> list[Entry]:
    return [placed.entry for placed in read_entries(tracker._folder / JOURNAL_FILE)]


def test_values_are_read_bit_for_bit(journal: Journal) -> None:
    third = torch.tensor(1 / 3)  # float32
    journal.log_points({"a": third, "b": 1e-300, "c": float("nan"), "d": torch.tensor(-0.0), "e": 7}, 3)
    journal.close("FINISHED")
    found = {name: value for name, step, value in list_points(journal._folder)}
    assert found.pop("c") != found.get("c")
    assert found == {"a": third.item(), "b": 1e-300, "d": 0.0, "e": 7.0}
    assert str(found["d"]) == "-0.0"


def test_an_incomplete_last_line_is_dropped_and_overwritten(journal: Journal) -> None:
    journal.log_points({"a": 1.0}, 1)
    journal.log_points({"a": 2.0}, 2)
    journal.close("KILLED")
    path = journal._folder / JOURNAL_FILE
    path.write_bytes(path.read_bytes()[:-9])
    assert "status" not in json.dumps(read_all(journal))
    again = Journal(str(journal.runs))
    again.start("a run", journal._folder, {}, [], {"sr.verb": "run"})
    again.log_points({"a": 3.0}, 3)
    again.close("FINISHED")
    assert [value for _, _, value in list_points(journal._folder)] == [1.0, 2.0, 3.0]
    assert read_identity(journal._folder).attempts == 2


def test_a_flipped_bit_loses_one_line(journal: Journal) -> None:
    for step in (1, 2, 3):
        journal.log_points({"a": float(step)}, step)
    journal.close("FINISHED")
    path = journal._folder / JOURNAL_FILE
    path.write_bytes(path.read_bytes().replace(b'"a":2.0', b'"a":6.0'))
    assert [value for _, _, value in list_points(journal._folder)] == [1.0, 3.0]


def test_after_a_flush_everything_is_on_the_disk(journal: Journal) -> None:
    journal.log_points({"a": 1.0}, 1)
    journal.log_image("image", lambda: Image.new("RGB", (4, 4)), 1)
    journal.flush()
    (entry,) = [entry for entry in read_all(journal) if "image" in entry]
    assert all((journal._folder / name).exists() for name in entry["files"])
    assert [value for _, _, value in list_points(journal._folder)] == [1.0]
    journal.close("FINISHED")


def test_an_image_that_cannot_be_drawn_loses_nothing_else(journal: Journal, capfd: Any) -> None:
    journal.log_image("image", lambda: 1 / 0, 1)
    journal.log_points({"a": 1.0}, 1)
    journal.close("FINISHED")
    assert "ZeroDivisionError" in capfd.readouterr().err
    assert [value for _, _, value in list_points(journal._folder)] == [1.0]


def test_a_full_disk_is_reported_and_the_status_is_true(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    """The journal frees its reserve, so that the status can still be written."""
    journal.log_points({"a": 1.0}, 1)
    journal.flush()
    reserve, write = journal._folder / ".reserve", os.pwrite
    assert reserve.stat().st_size == 1 << 20

    def full(file: int, data: bytes, at: int) -> int:
        if reserve.exists():
            write(file, data[:5], at)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, data, at)

    monkeypatch.setattr(os, "pwrite", full)
    journal.log_points({"a": 2.0}, 2)
    with pytest.raises(DiskError, match=r"journal\.jsonl.*No space left on device"):
        journal.flush()
    with pytest.raises(DiskError):
        journal.log_points({"a": 3.0}, 3)
    journal.close("FAILED", "disk")
    assert read_identity(journal._folder).status == "FAILED"
    assert read_all(journal)[-1]["status"] == "FAILED"
    assert [value for _, _, value in list_points(journal._folder)] == [1.0, 2.0]


def test_callbacks_are_called_after_a_flush_and_never_after_an_error(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint is put in place when everything reported before it is on the disk, images too."""
    seen: list[int] = []
    journal.log_image("slow", lambda: time.sleep(0.2) or Image.new("RGB", (4, 4)), 1)
    journal.log_points({"a": 1.0}, 1)
    journal.call_when_flushed(lambda: seen.append(len(read_all(journal))))
    journal.flush()
    assert seen == [3]  # start of the run, image, point
    monkeypatch.setattr(os, "pwrite", lambda *_: 0)
    journal.log_points({"a": 2.0}, 2)
    journal.call_when_flushed(lambda: seen.append(0))
    with pytest.raises(DiskError):
        journal.flush()
    assert seen == [3]
    journal.close("FAILED", "disk")


def test_a_disk_that_fails_does_not_hang_the_run(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even truncating the file fails."""

    def fail(*_: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "pwrite", fail)
    monkeypatch.setattr(os, "ftruncate", fail)
    journal.log_points({"a": 1.0}, 1)
    with pytest.raises(DiskError, match="Input/output error"):
        journal.flush()
    with pytest.raises(DiskError):
        journal.flush()
    journal.close("FAILED", "disk")
    assert read_identity(journal._folder).status == "FAILED"


@pytest.mark.slow
def test_a_run_whose_process_died_is_marked_as_killed(tmp_path: Path) -> None:
    program = f"""
import os, signal
from pathlib import Path
from sr.track.device_values import read_numbers
from sr.track.journal import Journal
folder = Path({str(tmp_path)!r}) / "dead"
folder.mkdir()
tracker = Journal({str(tmp_path)!r})
tracker.start("a run", folder, {{}}, [], {{}})
os.kill(os.getpid(), signal.SIGKILL)
"""
    process = subprocess.Popen([sys.executable, "-c", program])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, but not yet asked how it ended
    assert read_identity(tmp_path / "dead").status == "RUNNING"
    assert mark_orphaned_runs(tmp_path) == [tmp_path / "dead"]
    found = read_identity(tmp_path / "dead")
    assert (found.status, found.exit) == ("KILLED", "its process has ended")
    assert [placed.entry for placed in read_entries(tmp_path / "dead" / JOURNAL_FILE)][-1]["status"] == "KILLED"
    assert mark_orphaned_runs(tmp_path) == []
    process.wait()


def test_a_running_run_is_neither_marked_nor_opened_again(journal: Journal, tmp_path: Path) -> None:
    assert mark_orphaned_runs(tmp_path) == []
    identity = read_identity(journal._folder)
    identity.pid = os.getppid()
    identity.process_started = psutil.Process(identity.pid).create_time()
    write_identity(journal._folder, identity)
    with pytest.raises(UserError, match="is running already"):
        Journal(str(tmp_path)).start("a run", journal._folder, {}, [], {})
    journal.close("FINISHED")


def test_a_run_of_another_machine_is_alive_while_it_has_heartbeats(journal: Journal, tmp_path: Path) -> None:
    journal.close("FINISHED")
    identity = read_identity(journal._folder)
    identity.status, identity.host = "RUNNING", "another"
    write_identity(journal._folder, identity)
    assert read_identity(journal._folder).is_alive
    os.utime(journal._folder / "run.json", (0, time.time() - 700))
    assert read_identity(journal._folder).is_orphaned


def test_runs_are_found_by_folder_name_and_ids(journal: Journal, tmp_path: Path) -> None:
    journal.close("FINISHED")
    folder, own = journal._folder, journal.identity.id
    for word in (str(folder), folder.name, own, own[:8]):
        assert find_run(tmp_path, word, "resume") == folder
    for word in ("nothing", "a" * 32, own[:3]):
        with pytest.raises(UserError, match=f"resume={word}: expected a run's folder or its id"):
            find_run(tmp_path, word, "resume")


def test_the_training_thread_only_queues(journal: Journal) -> None:
    """A slow image is drawn in another thread."""
    drawn, may_draw = [], threading.Event()

    def slow() -> Image.Image:
        may_draw.wait(60)
        drawn.append(1)
        return Image.new("RGB", (4, 4))

    journal.log_image("image", slow, 1)
    assert not drawn
    may_draw.set()
    journal.close("FINISHED")
    assert drawn


def test_a_scalar_that_cannot_be_read_loses_nothing_else(journal: Journal, capfd: Any) -> None:
    """It is named once; all else of the same write arrives, the status last."""
    meta = torch.ones((), device="meta")
    journal.log_points({"before": 1.0}, 1)
    for step in (2, 3):
        journal.log_points({"good": torch.tensor(2.0), "bad": meta, "word": "x", "also good": 3.0}, step)
    journal.log_points({"after": 4.0}, 4)
    journal.close("FINISHED")
    assert [(name, step) for name, step, _ in list_points(journal._folder)] == [
        ("before", 1), ("good", 2), ("also good", 2), ("good", 3), ("also good", 3), ("after", 4),
    ]  # fmt: skip
    assert read_all(journal)[-1]["status"] == "FINISHED"
    said = capfd.readouterr().err
    assert said.count("bad of step 2 is not logged: it cannot be read (") == said.count("bad of step") == 1
    assert said.count("word of step") == 1


def test_of_the_scalars_of_a_device_only_the_bad_one_is_lost() -> None:
    good, bad = torch.tensor(1 / 3, dtype=torch.float64), torch.ones(2)
    first, second, third = read_numbers([good, bad, good])
    assert (first, third) == (1 / 3, 1 / 3)
    assert isinstance(second, Exception)


def test_an_image_on_a_full_disk_does_not_lose_the_points_of_the_same_write(journal: Journal, capfd: Any) -> None:
    def fail() -> Image.Image:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    journal.log_image("panel", fail, 1)
    journal.log_points({"a": 1.0}, 1)
    with pytest.raises(DiskError, match="No space left on device"):
        journal.flush()
    journal.close("FAILED", "disk")
    assert [value for _, _, value in list_points(journal._folder)] == [1.0]
    assert read_all(journal)[-1]["status"] == "FAILED"
