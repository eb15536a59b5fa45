"""The difference of two resolved configs."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

FREE = ("paths", "track", "data.root", "data.cache", "resume", "trust", "model.init")  # where things lie, and began


NOTHING = object()


class Change(NamedTuple):
    """Of one dial, `model.net.width`."""

    key: str
    there: Any  # in the run so far
    here: Any  # now

    def __str__(self) -> str:
        return f"{self.key} {format_value(self.there)} -> {format_value(self.here)}"


def find_differences(there: Mapping[str, Any], here: Mapping[str, Any], derived: Iterable[str] = ()) -> list[Change]:
    """A dial that a part has got, or lost, with a newer version of sr is no difference, where the part itself is in both."""
    then, now = flatten(there), flatten(here)
    parts = [{key.rpartition(".")[0] for key in dials} for dials in (then, now)]
    skipped = {*derived}
    return [
        Change(key, then.get(key, NOTHING), now.get(key, NOTHING))
        for key in dict.fromkeys((*then, *now))
        if then.get(key, NOTHING) != now.get(key, NOTHING)
        and not is_under(key, skipped)
        and not is_under(key, FREE)
        and (key in then or key.rpartition(".")[0] not in parts[0])
        and (key in now or key.rpartition(".")[0] not in parts[1])
    ]


def flatten(node: Any, key: str = "") -> dict[str, Any]:
    """`{"model.net.width": 32, …}`."""
    if not isinstance(node, Mapping) or not node:
        return {key: node}
    return {name: value for k, part in node.items() for name, value in flatten(part, f"{key}.{k}".lstrip(".")).items()}


def is_under(key: str, names: Iterable[str]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in names)


def format_value(value: Any) -> str:
    """As it is typed."""
    if value is NOTHING:
        return "(none)"
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)
