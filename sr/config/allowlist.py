"""`trust=`: what may be built from a config that the user did not type, of a checkpoint or of a tracked run.

Whoever may name any callable can run any code: `os.system`, but also `torch.load` or `download_file` of
`sr.pretrained.download`. So such a config may only name parts: classes of sr's packages of parts, classes of a few
libraries by their base class, and what is in modules that the user trusts. A name must be *defined* in the module it
names: through what a module imports (`sr.net.plain.nn…`) everything could be reached.
"""

import importlib
import inspect
import sys
from collections.abc import Sequence
from functools import reduce
from typing import Any

from sr.runtime.error import UserError

PART_PACKAGES = (  # of sr
    "adversarial", "alarm", "augment", "data", "degrade", "discriminator", "loss", "metric", "model", "net", "penalty",
    "profile", "schedule", "track", "trainer",
)  # fmt: skip
FUNCTION_PACKAGES = "sr.schedule."  # where parts are functions; in all other packages they are classes
LIBRARY_PARTS = {  # prefix of the module -> base class that a part defined there must have
    "torch.nn.": "torch.nn.modules.module.Module",
    "torch.optim.": "torch.optim.optimizer.Optimizer",
    "torch.optim.lr_scheduler.": "torch.optim.lr_scheduler.LRScheduler",
    "schedulefree.": "torch.optim.optimizer.Optimizer",
    "pytorch_lightning.callbacks.": "pytorch_lightning.callbacks.callback.Callback",
}
ALL_PARTS = (*(f"sr.{package}." for package in PART_PACKAGES), *LIBRARY_PARTS)
NET_PARTS = ("sr.net.", "torch.nn.")  # none of which downloads weights when it is built, as losses and metrics may
PLAIN_TYPES = (dict, list, tuple, str, int, float, bool, type(None))
MAX_DEPTH = 100  # levels of a config


def check_targets(
    node: Any, trust: Sequence[str], source: str, key: str = "", allowed: tuple[str, ...] = ALL_PARTS
) -> None:
    """Raise a `UserError` if a config, or any part of it, names something else to be built.

    `trust` holds prefixes of modules that are allowed as well. `source` is what the user typed to get this config
    (`checkpoint=FILE`); `key` is the place of `node` in a whole config. `allowed` are the modules of which parts may be.
    """
    _check_node(node, tuple(f"{prefix}." for prefix in trust), source, key, allowed)


def list_untrusted_modules(node: Any, allowed: tuple[str, ...] = ALL_PARTS) -> list[str]:
    """Return the modules of the parts in a config that `check_targets` refuses without `trust`: those of the user."""
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list | tuple) else ()
    modules = [module for child in children for module in list_untrusted_modules(child, allowed)]
    if isinstance(node, dict) and "_target_" in node:
        try:
            _check_target(node["_target_"], (), "", "", allowed)
        except UserError:
            modules.append(node["_target_"].rpartition(".")[0])
    return list(dict.fromkeys(modules))


def _check_node(node: Any, trusted: tuple[str, ...], source: str, key: str, allowed: tuple[str, ...]) -> None:
    if isinstance(node, dict):
        children = {f"{key}.{name}".lstrip("."): value for name, value in node.items()}
        if "_target_" in node:
            _check_target(node["_target_"], trusted, source, key, allowed)
    else:
        children = {f"{key}[{k}]": value for k, value in enumerate(node)} if isinstance(node, list | tuple) else {}
    if not isinstance(node, PLAIN_TYPES) or key.count(".") + key.count("[") > MAX_DEPTH:
        found = type(node).__name__
        raise UserError(f"{source}: {key}: expected plain values (found {found}); this was not written by sr")
    if isinstance(node, str) and "${" in node:  # sr stores resolved configs; a resolver could create a target
        raise UserError(f"{source}: {key}: expected plain values (found {node}); this was not written by sr")
    for name, value in children.items():
        _check_node(value, trusted, source, name, allowed)


def _check_target(target: Any, trusted: tuple[str, ...], source: str, key: str, allowed: tuple[str, ...]) -> None:
    module, _, name = target.rpartition(".") if isinstance(target, str) else ("", "", "")
    is_trusted = isinstance(target, str) and target.startswith(trusted)
    is_candidate = is_trusted or f"{module}.".startswith(("sr.", *LIBRARY_PARTS))
    part = _find_definition(module, name) if is_candidate else None
    if is_trusted and part is None and not _can_import(module):
        raise UserError(f"{source}: {key} is {target}, but there is no module {module}; add --config-dir DIR")
    prefixes = (*(allowed if part is not None and _is_part(part) else ()), *(trusted if is_trusted else ()))
    if part is None or not f"{part.__module__}.".startswith(prefixes):
        raise UserError(
            f"{source}: {key or 'it'} is {target}, which is no part of sr that may stand there; "
            f"if you trust it, type trust=[{module or target}] (what was trusted earlier is not stored)"
        )


def _can_import(module: str) -> bool:
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


def _find_definition(module: str, name: str) -> Any:
    """Return the class or function that is defined under this name at the top of this module, or None.

    It must be found by import and, as Hydra finds it, by attributes.
    """
    if not all(word.isidentifier() for word in (*module.split("."), name)):
        return None
    try:
        part = getattr(importlib.import_module(module), name)
        package, *path = module.split(".")
        is_same = reduce(getattr, (*path, name), sys.modules[package]) is part
        is_defined_there = getattr(sys.modules[part.__module__], part.__qualname__) is part
    except Exception:  # importing an unknown module may raise anything
        return None
    return part if is_same and is_defined_there and (inspect.isclass(part) or inspect.isfunction(part)) else None


def _is_part(part: Any) -> bool:
    """Return True for a public part of sr's packages of parts, and for a class of a library with the right base."""
    module = f"{part.__module__}."
    if module.startswith("sr."):
        is_right_kind = inspect.isclass(part) or module.startswith(FUNCTION_PACKAGES)
        return is_right_kind and module.split(".")[1] in PART_PACKAGES and not part.__name__.startswith("_")
    bases = inspect.getmro(part) if inspect.isclass(part) else ()
    names = {f"{base.__module__}.{base.__qualname__}" for base in bases}
    return any(module.startswith(prefix) and base in names for prefix, base in LIBRARY_PARTS.items())
