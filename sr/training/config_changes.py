"""The dials of a run that goes on, against those that it had: what has changed, and whether it may."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from sr.config.diff import Change, find_differences, flatten, format_value, is_under
from sr.config.renamed import update_config
from sr.runtime.error import UserError
from sr.training.resume import FIXED, parse_key, read_overrides


def find_changes(folder: Path, cfg: DictConfig, config: dict[str, Any], typed: Iterable[str]) -> list[Change]:
    """What differs between the run of this folder and what was composed for it now (`cfg`, and resolved `config`).

    Raises where nobody has typed that it should: a file in `conf/` that was edited since, another environment. Where things
    lie may differ, and what only follows from other dials is not told of.
    """
    try:
        there = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):  # of an older run without a tracker
        return []
    if isinstance(there, dict):
        there = update_config(there)
    found = find_differences(there, config, _derived(cfg))
    named = {parse_key(word).partition("@")[0].replace("/", ".") for word in set(typed) - set(read_overrides(folder))}
    unasked = [change for change in found if not is_under(change.key, named)]
    if unasked:
        raise UserError(
            f"resume={folder}: since this run began, other values have come from conf/ or the environment: "
            f"{', '.join(map(str, unasked))}. Type those that are meant, such as "
            f"{unasked[0].key}={format_value(unasked[0].before)}"
        )
    fixed = [change for change in found if is_under(change.key, FIXED) or _averages(change)]
    if fixed:
        raise UserError(
            f"resume={folder}: {', '.join(map(str, fixed))}: a run that goes on keeps its weights, optimizers "
            f"and protocol. For a new run that begins with its weights: model.init={folder}"
        )
    return found


def _averages(change: Change) -> bool:
    """Whether averaged weights would have to come from nowhere, or are left over; another decay is none of that."""
    return change.key == "model.ema" and None in (change.before, change.after)


def _derived(cfg: DictConfig) -> list[str]:
    """Dials whose value stands at another dial; one that stands in the environment is its own."""
    raw = flatten(OmegaConf.to_container(cfg, resolve=False))
    return ["channels", *(k for k, v in raw.items() if isinstance(v, str) and "${" in v and "${oc.env:" not in v)]
