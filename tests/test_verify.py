"""`sr.verify` as a user types it: it holds on the field's sets, and fails on anything else."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path


def test_verify_holds_on_set5_and_fails_on_another(sr: Callable, sr_data: Path, tmp_path: Path) -> None:
    answer = sr("verify", f"paths.data={sr_data}", "sets=[Set5]")
    assert answer.code == 0, answer.out
    assert "every row passes" in answer.out
    table = [line for line in answer.out.splitlines() if re.match("set|Set5|LR files|─", line)]
    assert len(table) == 3 * 2 + 6 + 6 + 3
    assert max(map(len, table)) <= 80 - len("Manga109") + len("Set5")
    report = json.loads(Path("verify.json").read_text())
    assert len(report["bicubic"]) == 6
    assert {row["verdict"] for row in report["bicubic"]} == {"ok"}
    assert sum(row["equal"] for row in report["lr_files"]) == 15
    shutil.copytree(sr_data / "Set5" / "HR", tmp_path / "other" / "Set5" / "HR")
    shutil.copy(sr_data / "Set5" / "HR" / "bird.png", tmp_path / "other" / "Set5" / "HR" / "copy.png")
    answer = sr("verify", "paths.data=other", "sets=[Set5,Set14]", "scales=[2]")
    assert answer.code == 1
    assert "FAILED" in answer.out
    assert "not checked: Set14" in answer.out


def test_verify_without_any_set(sr: Callable, tmp_path: Path) -> None:
    answer = sr("verify", f"paths.data={tmp_path}")
    assert answer.code == 2
    assert "SR_DATA" in answer.err
    assert sr("verify", "scales=[5]").code == 2
