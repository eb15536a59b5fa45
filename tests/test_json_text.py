"""JSON without Infinity and NaN, which most readers refuse."""

import json
import math

from sr.record.json_text import to_json

INFINITY, NAN = math.inf, math.nan


def test_every_number_that_json_does_not_know_is_a_word() -> None:
    tree = {"a": INFINITY, "b": [-INFINITY, (NAN, 1.5)], "c": ({"d": [NAN]}, True, None, "é")}
    text = to_json(tree)
    assert json.loads(text, parse_constant=lambda word: 1 / 0) == {
        "a": "inf", "b": ["-inf", ["nan", 1.5]], "c": [{"d": ["nan"]}, True, None, "é"],
    }  # fmt: skip
    assert "é" in text
