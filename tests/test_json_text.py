"""JSON without Infinity and NaN, which most readers refuse."""

import json
import math
import os
from pathlib import Path

from sr.record.json_text import to_json
from sr.record.result import read_run_result

INFINITY, NAN = math.inf, math.nan


def test_every_number_that_json_does_not_know_is_a_word() -> None:
    tree = {"a": INFINITY, "b": [-INFINITY, (NAN, 1.5)], "c": ({"d": [NAN]}, True, None, "é")}
    text = to_json(tree)
    assert json.loads(text, parse_constant=lambda word: 1 / 0) == {
        "a": "inf", "b": ["-inf", ["nan", 1.5]], "c": [{"d": ["nan"]}, True, None, "é"],
    }  # fmt: skip
    assert "é" in text


def test_a_file_name_that_is_no_utf8_is_written_and_read_back(tmp_path: Path) -> None:
    names = [os.fsdecode(b"caf\xe9.png"), "überspaß"]
    (tmp_path / "a.json").write_text(to_json(names), encoding="utf-8")
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == names


def test_files_of_earlier_versions_with_infinity_are_read(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text(
        '{"status": "FINISHED", "metrics": {"a": Infinity, "b": -Infinity, "c": "inf"}}'
    )
    assert read_run_result(tmp_path).metrics == {"a": INFINITY, "b": -INFINITY, "c": INFINITY}
    assert json.loads(read_run_result(tmp_path).to_json(), parse_constant=lambda word: 1 / 0)["metrics"]["a"] == "inf"
