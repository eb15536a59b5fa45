"""The folder of a run: one step makes it, with the options of the run in it, so that there is never one without."""

import shutil
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from sr.record.identity import LOCK_FILE
from sr.record.run_file import write_atomic
from sr.record.run_name import make_folder_name
from sr.runtime.error import UserError
from sr.runtime.redact import mask_passwords

CONFIG_FILE, OVERRIDES_FILE, CHOICES_FILE = OPTION_FILES = ("config.yaml", "overrides.yaml", "choices.yaml")
NEW_FOLDER_PREFIX = ".new-"  # of a folder that is still being made
MAX_RUNS_PER_SECOND = 1000


def collect_options(config: dict[str, Any], choices: dict[str, str], overrides: Sequence[str]) -> dict[str, bytes]:
    """Return the files of a run's options, name -> content: the config, what was typed, and the chosen groups."""
    trees = {
        CONFIG_FILE: config,
        OVERRIDES_FILE: list(overrides),
        CHOICES_FILE: {group: choice for group, choice in choices.items() if choice is not None},
    }
    return {name: mask_passwords(to_yaml(tree)).encode() for name, tree in trees.items()}


def to_yaml(node: Any) -> str:
    """Return a tree of plain values as YAML, in its own order."""
    return yaml.safe_dump(node, sort_keys=False, allow_unicode=True)


def create_run_folder(runs: str, name: str, files: Mapping[str, bytes]) -> Path:
    """Create a folder `runs/DATE-TIME_NAME` with these files, and return its path.

    Several runs of one second get a number. A kill leaves no folder of that name, or one with all files.
    """
    path = Path(runs).resolve() / f"{datetime.now():%Y%m%d-%H%M%S}_{make_folder_name(name)}"
    new = path.with_name(f"{NEW_FOLDER_PREFIX}{uuid.uuid4().hex}")
    try:
        new.mkdir(parents=True)
        for file, content in files.items():
            write_atomic(new / file, content)
        return _rename_to_free_name(new, path)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"paths.runs={runs}: cannot make a folder for this run ({reason})") from None
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _rename_to_free_name(new: Path, path: Path) -> Path:
    for attempt in range(MAX_RUNS_PER_SECOND):
        folder = path if not attempt else path.with_name(f"{path.name}-{attempt + 1}")
        try:
            return new.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    raise UserError(f"{path.parent}: expected a free name for a run (found {MAX_RUNS_PER_SECOND} of this second)")


def remove_unused_folder(folder: Path) -> None:
    """Remove the folder of a run that could not be opened; one with anything but its options stays."""
    if {path.name for path in folder.iterdir()} <= {*OPTION_FILES, LOCK_FILE}:
        shutil.rmtree(folder, ignore_errors=True)
