"""Parse the addresses of what MLflow has, which the user types where otherwise a file or a folder is named.

`mlflow:RUN_ID` is a tracked run; `models:/NAME@ALIAS` and `models:/NAME/VERSION` are versions of a registered model.
"""

import re
from typing import NamedTuple

from sr.runtime.error import UserError

PREFIX = "mlflow:"
MODELS = "models:/"
FORMS = f"{MODELS}NAME@ALIAS or {MODELS}NAME/VERSION"
_MODEL = re.compile(r"models:/(?P<name>[^/:\0-\x1f]+?)(?:@(?P<alias>[A-Za-z0-9_-]+)|/(?P<version>[0-9]{1,9}))")

_versions: dict[str, str] = {}  # address with an alias -> the address of the version that this process has loaded by it


class ModelAddress(NamedTuple):
    """A version of a registered model, by one of its aliases or by its number."""

    name: str
    alias: str | None
    version: str | None


def is_address(word: str) -> bool:
    """Return whether the word names a run or a model of MLflow, and no file."""
    return word.startswith((PREFIX, MODELS))


def parse_run_id(word: str) -> str | None:
    """Return RUN_ID of `mlflow:RUN_ID`, or None if the word names something else."""
    return word.removeprefix(PREFIX) if word.startswith(PREFIX) else None


def parse_model(word: str, option: str = "checkpoint") -> ModelAddress | None:
    """Return the parts of `models:/…`, or None if the word names something else; raise if it is mistyped."""
    if not word.startswith(MODELS):
        return None
    match = _MODEL.fullmatch(word)
    if match is None:
        raise UserError(f"{option}={word}: expected {FORMS}, such as {MODELS}sr@champion or {MODELS}sr/3")
    return ModelAddress(match["name"], match["alias"], match["version"])


def record_version(word: str, address: str) -> None:
    """Note which version an address has led to, for `find_version`."""
    _versions[word] = address


def find_version(word: str) -> str | None:
    """Return the address of the version that this process has loaded by an alias, which may point to another one later.

    None: the word has no alias, or was not loaded.
    """
    address = _versions.get(word)
    return None if address == word else address
