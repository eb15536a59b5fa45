"""Lines of a journal with the right checksum that sr has not written: an error that names file and line, no traceback."""

import json
import os
import zlib
from pathlib import Path

import pytest

from sr.record.identity import Identity, read_identity, write_identity
from sr.record.journal_format import JOURNAL_FILE, encode_entry, list_points
from sr.record.run_folder import create_run_folder
from sr.runtime.error import UserError
from sr.track import cleanup
from sr.track.journal import Journal
from sr.track.sync import sync_runs
from sr.track.upload import Upload


def line(body: bytes) -> bytes:
    return b"%08x %s\n" % (zlib.crc32(body), body)


POINT = b'{"points":{"train/loss":1},"step":%s,"time":1}'
BAD_LINES = {
    "a word for a step": POINT % b'"three"',
    "no step": b'{"points":{"train/loss":1},"time":1}',
    "a fraction": POINT % b"1.5",
    "too large": POINT % (b"1" + b"0" * 30),
    "too many digits": POINT % (b"1" + b"0" * 5000),
    "nested": b"[" * 100_000 + b"]" * 100_000,
    "a nested point": b'{"points":{"a":' + b"[" * 100_000 + b"]" * 100_000 + b'},"step":1,"time":1}',
    "a list": b'[{"settled":1}]',
    "a number": b"7",
    "null": b"null",
    "points in a list": b'{"points":["train/loss"],"step":1,"time":1}',
    "a point of a word": b'{"points":{"train/loss":"low"},"step":1,"time":1}',
    "infinity": b'{"points":{"train/loss":1e999},"step":1,"time":1}',
    "NaN": b'{"points":{"train/loss":NaN},"step":1,"time":1}',
    "true": b'{"settled":true}',
    "a step to go back to": b'{"back":"start"}',
    "two kinds": b'{"settled":1,"back":0}',
    "no kind": b'{"step":1}',
    "foreign field": b'{"settled":1,"files":7}',
    "files": b'{"image":"a","step":1,"time":1,"files":"ab"}',
    "a tag": b'{"tag":["a"],"value":"b"}',
    "a data set": b'{"dataset":{"name":"Set5"}}',
    "a status": b'{"status":"DONE","time":1}',
    "an opening": b'{"open":{"id":7},"time":1}',
    "no JSON": b"{",
    "bytes": b"\xff\xfe",
}


@pytest.mark.parametrize("body", BAD_LINES.values(), ids=BAD_LINES)
def test_a_line_that_sr_has_not_written_is_named(body: bytes, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    """By resume, sync, clean, reproduce and by a run next to it; nothing is changed, and nothing is a traceback."""
    folder = create_run_folder(str(tmp_path), "x", {})
    tracker = Journal(str(tmp_path))
    tracker.start("a run", folder, {}, [], {})
    tracker.close("KILLED")
    journal = folder / JOURNAL_FILE
    whole = b"".join(journal.read_bytes().splitlines(keepends=True)[:2]) + line(body) + line(POINT % b"9")
    journal.write_bytes(whole)
    named = f"{journal}, line 3: "
    with pytest.raises(UserError, match=named):
        list(list_points(folder))
    before = (folder / "run.json").read_text()
    with pytest.raises(UserError, match=named):
        Journal(str(tmp_path)).start("a run", folder, {}, [], {})
    assert (folder / "run.json").read_text() == before
    assert not sync_runs([], str(tmp_path))
    assert f"{folder.name}: not sent: {named}" in capfd.readouterr().err
    cleanup.remove_leftovers(tmp_path, tmp_path / "cache", ["failed"], 0, True)
    assert f"{folder.name} (KILLED) stays: {named}" in capfd.readouterr().err
    write_identity(folder, Identity(host=os.uname().nodename, pid=2**22 + 1, attempts=1))
    other = Journal(str(tmp_path))
    other.start("a run", create_run_folder(str(tmp_path), "other", {}), {}, [], {})
    other.close("FINISHED")
    assert f"{folder.name} is marked as KILLED, but not in its journal: {named}" in capfd.readouterr().err
    assert read_identity(folder).status == "KILLED"
    assert journal.read_bytes() == whole


def test_a_field_of_a_later_version_is_no_error(tmp_path: Path) -> None:
    entry = {"points": {"a": 1}, "step": 1, "time": 1, "unit": "dB"}
    (tmp_path / JOURNAL_FILE).write_bytes(encode_entry(entry))
    assert list(list_points(tmp_path)) == [("a", 1, 1.0)]


@pytest.mark.parametrize(
    "content",
    ['{"pid": "x"}', '{"pid": 1e30}', '{"typed": "ab"}', '{"typed": [1]}', '{"born": "now"}', '{"host": ["a"]}',
     '{"uri": 7}', '{"status": null}', '{"attempts": "1"}', "[" * 100_000, "7", "\x00"],
)  # fmt: skip
def test_an_identity_that_sr_has_not_written_is_none(content: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(content)
    assert read_identity(tmp_path) is None


@pytest.mark.parametrize(
    "content",
    ['{"offset": "x"}', '{"offset": -5}', '{"past": 1.5}', '{"settled": []}', '{"run_id": 7}', '{"uri": 7}', "[" * 100_000,
     "7", "{", "[]"],
)  # fmt: skip
def test_a_damaged_cursor_is_as_if_nothing_was_sent(content: str, tmp_path: Path) -> None:
    """All is sent again then, which changes nothing."""
    tracker = Journal(str(tmp_path))
    tracker.start("a run", create_run_folder(str(tmp_path), "x", {}), {}, [], {})
    tracker.log_points({"a": 1.0, "b": 2.0}, 0)
    tracker.close("FINISHED")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    (tmp_path / "mlflow.db").touch()
    cursor = {"uri": uri, "run_id": "a" * 32, "offset": 0, "past": 0, "settled": 0}
    if content.startswith('{"'):
        content = json.dumps(cursor | json.loads(content))
    (tracker._folder / "cursor.json").write_text(content)
    upload = Upload(tracker._folder, uri, tmp_path)
    assert (upload.run_id, upload.is_complete, upload.unsent_count) == (None, False, 2)
