"""The dials of a run that goes on, against those that it had: what has changed, and whether it may."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from omegaconf import DictConfig, OmegaConf

from sr import resume
from sr.error import UserError

NOTHING = object()


class Change(NamedTuple):
    """Of one dial, `model.net.width`."""

    key: str
    there: Any  # in the run so far
    here: Any  # now

    def __str__(self) -> str:
        return f"{self.key} {_said(self.there)} -> {_said(self.here)}"


def changes(folder: Path, cfg: DictConfig, config: dict[str, Any], typed: Iterable[str]) -> list[Change]:
    """What differs between the run of this folder and what was composed for it now (`cfg`, and resolved `config`).

    Raises where nobody has typed that it should: a file in `conf/` that was edited since, another environment. Where things
    lie may differ, and what only follows from other dials is not told of.
    """
    try:
        there = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):  # of an older run without a tracker
        return []
    found = differences(there, config, _derived(cfg))
    named = {resume.key(word).partition("@")[0].replace("/", ".") for word in set(typed) - set(resume.stored(folder))}
    unasked = [change for change in found if not _under(change.key, named)]
    if unasked:
        raise UserError(
            f"resume={folder}: since this run began, other values have come from conf/ or the environment: "
            f"{', '.join(map(str, unasked))}. Type those that are meant, such as {unasked[0].key}={_said(unasked[0].there)}"
        )
    fixed = [change for change in found if _under(change.key, resume.FIXED) or _averages(change)]
    if fixed:
        raise UserError(
            f"resume={folder}: {', '.join(map(str, fixed))}: a run that goes on keeps its weights, optimizers "
            f"and protocol. For a new run that begins with its weights: model.init={folder}"
        )
    return found


def differences(there: Mapping[str, Any], here: Mapping[str, Any], derived: Iterable[str] = ()) -> list[Change]:
    """A dial that a part has got, or lost, with a newer version of sr is no difference, where the part itself is in both."""
    then, now = flat(there), flat(here)
    parts = [{key.rpartition(".")[0] for key in dials} for dials in (then, now)]
    skipped = {*derived}
    return [
        Change(key, then.get(key, NOTHING), now.get(key, NOTHING))
        for key in dict.fromkeys((*then, *now))
        if then.get(key, NOTHING) != now.get(key, NOTHING)
        and not _under(key, skipped)
        and not _under(key, resume.FREE)
        and (key in then or key.rpartition(".")[0] not in parts[0])
        and (key in now or key.rpartition(".")[0] not in parts[1])
    ]


def flat(node: Any, key: str = "") -> dict[str, Any]:
    """`{"model.net.width": 32, …}`."""
    if not isinstance(node, Mapping) or not node:
        return {key: node}
    return {name: value for k, part in node.items() for name, value in flat(part, f"{key}.{k}".lstrip(".")).items()}


def _averages(change: Change) -> bool:
    """Whether averaged weights would have to come from nowhere, or are left over; another decay is none of that."""
    return change.key == "model.ema" and None in (change.there, change.here)


def _derived(cfg: DictConfig) -> list[str]:
    """Dials whose value stands at another dial; one that stands in the environment is its own."""
    raw = flat(OmegaConf.to_container(cfg, resolve=False))
    return ["channels", *(k for k, v in raw.items() if isinstance(v, str) and "${" in v and "${oc.env:" not in v)]


def _under(key: str, names: Iterable[str]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in names)


def _said(value: Any) -> str:
    """As it is typed."""
    if value is NOTHING:
        return "(none)"
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)
