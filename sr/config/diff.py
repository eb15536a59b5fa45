"""The difference of two resolved configs."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

# Options that may differ without a note: where files are, and how the run started.
IGNORED_OPTIONS = ("paths", "track", "data.root", "data.cache", "resume", "trust", "model.init")
NO_VALUE = object()  # the value of an option that a config does not have


class Change(NamedTuple):
    """An option whose value differs between two configs."""

    key: str  # `model.net.width`
    before: Any  # in the run so far
    after: Any  # now

    def __str__(self) -> str:
        return f"{self.key} {format_value(self.before)} -> {format_value(self.after)}"


def find_differences(before: Mapping[str, Any], after: Mapping[str, Any], derived: Iterable[str] = ()) -> list[Change]:
    """Return the options that differ, but for `derived` ones and those that may differ.

    An option that a part gained or lost with a newer version of sr is no difference if the part itself is in both.
    """
    old, new = flatten(before), flatten(after)
    parts = [{key.rpartition(".")[0] for key in options} for options in (old, new)]
    skipped = {*derived, *IGNORED_OPTIONS}
    return [
        Change(key, old.get(key, NO_VALUE), new.get(key, NO_VALUE))
        for key in dict.fromkeys((*old, *new))
        if old.get(key, NO_VALUE) != new.get(key, NO_VALUE)
        and not is_under(key, skipped)
        and (key in old or key.rpartition(".")[0] not in parts[0])
        and (key in new or key.rpartition(".")[0] not in parts[1])
    ]


def flatten(node: Any, key: str = "") -> dict[str, Any]:
    """Return a nested config as one dictionary: `{"model.net.width": 32, …}`."""
    if not isinstance(node, Mapping) or not node:
        return {key: node}
    return {name: value for k, part in node.items() for name, value in flatten(part, f"{key}.{k}".lstrip(".")).items()}


def is_under(key: str, names: Iterable[str]) -> bool:
    """Return True if the option `key` is one of `names`, or part of one."""
    return any(key == name or key.startswith(f"{name}.") for name in names)


def format_value(value: Any) -> str:
    """Return a value as a user types it; `(none)` if the option does not exist."""
    if value is NO_VALUE:
        return "(none)"
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)
