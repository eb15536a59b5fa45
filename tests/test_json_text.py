"""JSON without Infinity and NaN, which most readers refuse."""

import json
import math
import os
from pathlib import Path

from sr.record.json_text import to_json

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
