"""`trust=`: which classes a stranger's file may have built. Only our own nets, and those of modules the user names."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sr.error import UserError

TRUSTED = ("sr.net.",)


def refuse_strangers(node: Any, trust: Sequence[str], path: Path) -> None:
    """Raise where the config `node` in the file `path` names any other class; `trust` adds prefixes of modules."""
    _refuse(node, (*TRUSTED, *(f"{prefix}." for prefix in trust)), path)


def _refuse(node: Any, trusted: tuple[str, ...], path: Path) -> None:
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _refuse(value, trusted, path)
    if isinstance(node, str) and "${" in node:  # our configs are resolved; a resolver could make a target of its own
        raise UserError(f"checkpoint={path} carries {node}: expected plain values only; it was not written by sr")
    target = str(node["_target_"]) if isinstance(node, dict) and "_target_" in node else None
    if target is not None and target.startswith(trusted) and not target.startswith(TRUSTED) and not _is_there(target):
        module = target.rpartition(".")[0]
        raise UserError(
            f"checkpoint={path}: its net is {target}, but there is no module {module}: add --config-dir DIR"
        )
    if target is not None and not _is_trusted(target, trusted):
        raise UserError(
            f"checkpoint={path} wants to build {target}, which is not a net of sr. "
            f"If you trust this file: trust=[{target.rpartition('.')[0]}]"
        )


def _is_there(target: str) -> bool:
    try:
        importlib.import_module(target.rpartition(".")[0])
    except ImportError:
        return False
    return True


def _is_trusted(target: str, trusted: tuple[str, ...]) -> bool:
    """Whether it lies in a trusted module and was made there: `sr.net.plain.nn…` would lead anywhere."""
    module, _, name = target.rpartition(".")
    if not target.startswith(trusted):
        return False
    try:
        return f"{getattr(importlib.import_module(module), name).__module__}.".startswith(trusted)
    except (ImportError, AttributeError):
        return False
