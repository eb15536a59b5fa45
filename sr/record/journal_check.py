"""Check that an entry of a journal is one that sr writes: a journal may be damaged, or somebody else's."""

import math
import reprlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from sr.record.identity import FAILED, FINISHED, KILLED

NOT_FINITE = ("nan", "inf", "-inf")  # how the values of points stand in a journal that are no JSON numbers
_FINAL = (FINISHED, FAILED, KILLED)
_INT64 = range(-(2**63), 2**63)


class _Rule(NamedTuple):
    """A type of value: how it is recognized, and its description for the user."""

    is_valid: Callable[[Any], bool]
    description: str


def find_problem(entry: Any) -> str | None:
    """Return what is wrong with an entry, or None; unknown fields, which a later version of sr may add, are not."""
    if not isinstance(entry, dict):
        return f"expected an object (found {reprlib.repr(entry)})"
    kinds = _RULES.keys() & entry.keys()
    if len(kinds) != 1:
        found = " and ".join(sorted(kinds)) or reprlib.repr(list(entry))
        return f"expected one of {', '.join(_RULES)} (found {found})"
    rules = _RULES[kinds.pop()]
    for name, rule in rules.items():
        if name not in entry:
            return f"expected {name}, {rule.description} (it is missing)"
        if not rule.is_valid(entry[name]):
            return f"{name}: expected {rule.description} (found {reprlib.repr(entry[name])})"
    foreign = sorted((_FIELDS & entry.keys()) - rules.keys())
    return f"expected no {foreign[0]} in this kind of line" if foreign else None


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value in _INT64


def _is_number(value: Any) -> bool:
    if isinstance(value, str):
        return value in NOT_FINITE
    return math.isfinite(value) if isinstance(value, float) else _is_integer(value)


def _are_points(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_number, value.values()))


def _has_texts(value: Any, names: Iterable[str]) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(name), str) for name in names)


def _is_opening(value: Any) -> bool:
    is_named = _has_texts(value, ("id", "title", "experiment"))
    return is_named and all(
        isinstance(part, dict) and _has_texts(part, part) for part in (value.get("tags"), value.get("params"))
    )


def _is_dataset(value: Any) -> bool:
    return _has_texts(value, ("name", "digest", "source", "context"))


def _is_final_status(value: Any) -> bool:
    return isinstance(value, str) and value in _FINAL


def _are_file_names(value: Any) -> bool:
    return isinstance(value, list) and len(value) in (1, 2) and all(map(_is_text, value))  # two: of an older version


_TEXT = _Rule(_is_text, "a text")
_INTEGER = _Rule(_is_integer, "a whole number of 64 bits")
_RULES: Mapping[str, Mapping[str, _Rule]] = {  # kind of entry -> its fields; see `sr.record.journal_format`
    "open": {"open": _Rule(_is_opening, "id, title, experiment, tags and params as texts"), "time": _INTEGER},
    "again": {"again": _INTEGER, "time": _INTEGER},
    "points": {"points": _Rule(_are_points, "numbers by name"), "step": _INTEGER, "time": _INTEGER},
    "image": {"image": _TEXT, "step": _INTEGER, "time": _INTEGER, "files": _Rule(_are_file_names, "a file name")},
    "file": {"file": _TEXT, "to": _TEXT},
    "tag": {"tag": _TEXT, "value": _TEXT},
    "dataset": {"dataset": _Rule(_is_dataset, "name, digest, source and context as texts")},
    "settled": {"settled": _INTEGER},
    "back": {"back": _INTEGER},
    "status": {"status": _Rule(_is_final_status, f"one of {', '.join(_FINAL)}"), "time": _INTEGER},
}
_FIELDS = {name for rules in _RULES.values() for name in rules}
