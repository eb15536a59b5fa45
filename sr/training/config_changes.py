"""Compare the config of a resumed run with the one that it had, and refuse changes that it cannot make."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig

from sr.config.diff import Change, find_differences, format_value, is_under
from sr.config.execution import EXECUTION_OPTIONS
from sr.config.renamed import update_config
from sr.config.schema import list_derived_options
from sr.record.run_folder import CONFIG_FILE
from sr.runtime.error import UserError
from sr.runtime.special_file import describe_special_file
from sr.training.resume import parse_key, read_overrides

FIXED_OPTIONS = (  # their weights, state or numbers could not be continued
    "model._target_", "model.net", "model.discriminator", "model.optimizer", "model.discriminator_optimizer", "metric",
    "color", "scale",
)  # fmt: skip


def read_stored_config(resume: Any) -> dict[str, Any] | None:
    """Return the config of the run that `resume=FOLDER` resumes; None if a new run begins."""
    is_folder = isinstance(resume, str) and Path(resume).expanduser().is_dir()
    return _read_config(Path(resume).expanduser()) if is_folder else None


def find_changes(folder: Path, cfg: DictConfig, config: dict[str, Any], overrides: Iterable[str]) -> list[Change]:
    """Return the options in which the run of a folder differs from what was composed now (`cfg`, resolved `config`).

    Paths may differ, and options that follow from other options are left out. Raise if an option changed that nobody
    typed, because a file in `conf/` was edited or the environment is another one, or if one changed that must not.
    """
    before = _read_config(folder)
    # Both in present names: a user may still choose a class that is an old name in sr's own configs (torch.nn.L1Loss).
    changes = find_differences(before, update_config(config), list_derived_options(cfg))
    typed = list_new_keys(folder, overrides)
    if "perf" in typed:  # it chooses them
        typed |= {*EXECUTION_OPTIONS}
    untyped = [change for change in changes if not is_under(change.key, typed)]
    if untyped:
        raise UserError(
            f"resume={folder}: conf/ or the environment has changed since this run began: "
            f"{', '.join(map(str, untyped))}. Type the values that you want, such as "
            f"{untyped[0].key}={format_value(untyped[0].before)}"
        )
    fixed = [change for change in changes if is_under(change.key, FIXED_OPTIONS) or _adds_or_drops_ema(change)]
    if fixed:
        raise UserError(
            f"resume={folder}: {', '.join(map(str, fixed))}: a resumed run continues with the same weights, optimizers "
            f"and protocol. For a new run that begins with its weights: model.init={folder}"
        )
    return changes


def list_new_keys(folder: Path, overrides: Iterable[str]) -> set[str]:
    """Return the dotted keys of the overrides that the run of a folder did not have."""
    new_words = set(overrides) - set(read_overrides(folder))
    return {parse_key(word).partition("@")[0].replace("/", ".") for word in new_words}


def _read_config(folder: Path) -> dict[str, Any]:
    """Return the config that a run began with, or was last resumed with."""
    path = folder / CONFIG_FILE
    try:
        problem = describe_special_file(path)
        config = None if problem else yaml.safe_load(path.read_text(encoding="utf-8"))
        problem = problem or ("" if isinstance(config, dict) else "no options")
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        problem = (str(error).splitlines() or [type(error).__name__])[0]
    if problem:
        raise UserError(f"resume={folder}: expected the options of the run in its {CONFIG_FILE} (found {problem})")
    return update_config(config)


def _adds_or_drops_ema(change: Change) -> bool:
    """Return True if averaged weights would be missing, or left over; the decay may change."""
    return change.key == "model.ema" and None in (change.before, change.after)
