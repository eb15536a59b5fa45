"""report.html: what the page of a run shows, and that a run is not lost for want of it."""

import base64
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from sr.record.journal_format import encode_entry
from sr.record.result import TrainingResult
from sr.training.report import TrainingReport
from sr.training.report_page import write_report_page

TABLE = [("set", "bicubic", "this run", "Δ dB"), ("test/Set5", "30.40", "31.25", "+0.85")]
SUMMARY = TrainingResult(status="FINISHED", run_id="abc123", steps=1200, seconds=61.0, alarms={"collapse": ["step 9: <flat>"]},
                         leaks=["baby is t36"], checkpoint="/runs/x/best.ckpt")  # fmt: skip


def write_run(folder: Path, validations: int) -> bytes:
    """Write the journal of a run that validated so many times; return the sample image of its last validation."""
    entries: list[dict[str, Any]] = [
        {"open": {"id": "x", "title": "x", "experiment": "sr", "tags": {}, "params": {}}, "time": 0}
    ]
    (folder / "panels").mkdir()
    for k in range(validations):
        name, buffer = f"panels/baby step {k}.png", io.BytesIO()
        Image.new("RGB", (8, 8), (k, 0, 0)).save(buffer, "PNG")
        (folder / name).write_bytes(buffer.getvalue())
        entries.append({"image": "val/Set5 x2 edsr/baby", "step": k, "time": k, "files": [name]})
        entries.append({"points": {"val/Set5 x2 edsr/psnr": 30.0 + k}, "step": k, "time": k})
    (folder / "journal.jsonl").write_bytes(b"".join(map(encode_entry, entries)))
    (folder / "environment.yaml").write_text("git: {sha: ea6cbd0}\n")
    return buffer.getvalue()


def test_a_run_is_on_one_page(tmp_path: Path) -> None:
    panel = write_run(tmp_path, 3)
    page = write_report_page(tmp_path, SUMMARY, TABLE, {"data": {"batch": 16}}, ["model/net=espcn"]).read_text()
    for text in ("FINISHED: 1,200 steps in 61 s", "test/Set5", "+0.85", "step 9: &lt;flat&gt;", "baby is t36",
                 "sr.run model/net=espcn", "ea6cbd0", "abc123", "/runs/x/best.ckpt"):  # fmt: skip
        assert text in page, text
    assert page.count("data:image/png;base64,") == 1  # the newest image of its key
    assert base64.b64encode(panel).decode() in page
    assert '"y":[30.0,31.0,32.0]' in page and '"images seen"' in page and "[0,16,32]" in page


def test_two_values_are_no_curve_and_need_no_plotly(tmp_path: Path) -> None:
    write_run(tmp_path, 2)
    page = write_report_page(tmp_path, SUMMARY, TABLE, {}, []).read_text()
    assert "Curves" not in page and len(page) < 50_000


def test_a_run_without_a_journal_has_its_page(tmp_path: Path) -> None:
    page = write_report_page(tmp_path, SUMMARY, TABLE, {}, []).read_text()
    assert "+0.85" in page and "Sample images" not in page


def test_a_run_is_not_lost_for_want_of_its_page(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    tracker = SimpleNamespace(flush=lambda: None, log_file=lambda path: None)
    start = SimpleNamespace(config={}, overrides=[])
    run = SimpleNamespace(folder=tmp_path, tracker=tracker, start=start)
    (tmp_path / "environment.yaml").write_text("a: [")  # damaged
    report = TrainingReport(run, SimpleNamespace(metrics={}, bicubic={}), None, None, {}, 0.0)
    report._write_page(SUMMARY)
    assert "no report.html" in capsys.readouterr().err
