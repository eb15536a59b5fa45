"""`trust=`: what a stranger's config may have built, be it in a checkpoint or in a run of a tracker.

Whoever may name any callable can run any code: `os.system`, but also `torch.load` or our own
`sr.pretrained.download.fetch`. So a config that the user did not type may name the parts that ours are made of, by
their kind, and what lies in modules that the user trusts. A name leads to what is *defined* in such a module, never
through it: `sr.net.plain.nn…` would lead anywhere.
"""

import importlib
import inspect
import sys
from collections.abc import Sequence
from functools import reduce
from typing import Any

from sr.runtime.error import UserError

ROOMS = (
    "adversarial", "alarm", "augment", "data", "degrade", "discriminator", "loss", "metric", "model", "net", "penalty",
    "schedule", "track", "trainer",
)  # fmt: skip
FUNCTIONS = "sr.schedule."  # where parts are functions; in all other rooms they are classes
KINDS = {  # others' classes by where they are defined, and what they must be
    "torch.nn.": "torch.nn.modules.module.Module",
    "torch.optim.": "torch.optim.optimizer.Optimizer",
    "torch.optim.lr_scheduler.": "torch.optim.lr_scheduler.LRScheduler",
    "schedulefree.": "torch.optim.optimizer.Optimizer",
    "torchmetrics.": "torchmetrics.metric.Metric",
    "pytorch_lightning.callbacks.": "pytorch_lightning.callbacks.callback.Callback",
}
PLAIN = (dict, list, tuple, str, int, float, bool, type(None))
MOST = 100  # levels of a config


def check_targets(node: Any, trust: Sequence[str], where: str, key: str = "") -> None:
    """Raise where a config, or any part of it, wants anything else to be built. `trust` adds prefixes of modules.

    `where` is what the user typed to get this config, as in `checkpoint=FILE`; `key` is where in a whole one `node` stands.
    """
    _refuse(node, tuple(f"{prefix}." for prefix in trust), where, key)


def _refuse(node: Any, trusted: tuple[str, ...], where: str, key: str) -> None:
    if isinstance(node, dict):
        parts = {f"{key}.{name}".lstrip("."): value for name, value in node.items()}
        if "_target_" in node:
            _judge(node["_target_"], trusted, where, key)
    else:
        parts = {f"{key}[{k}]": value for k, value in enumerate(node)} if isinstance(node, list | tuple) else {}
    if not isinstance(node, PLAIN) or key.count(".") + key.count("[") > MOST:
        raise UserError(
            f"{where} carries {type(node).__name__} at {key}: expected plain values only; sr wrote no such thing"
        )
    if isinstance(node, str) and "${" in node:  # our configs are resolved; a resolver could make a target of its own
        raise UserError(f"{where} carries {node} at {key}: expected plain values only; it was not written by sr")
    for name, value in parts.items():
        _refuse(value, trusted, where, name)


def _judge(target: Any, trusted: tuple[str, ...], where: str, key: str) -> None:
    module, _, name = target.rpartition(".") if isinstance(target, str) else ("", "", "")
    theirs = isinstance(target, str) and target.startswith(trusted)
    found = _found(module, name) if theirs or f"{module}.".startswith(("sr.", *KINDS)) else None
    if theirs and found is None and not _is_there(module):
        raise UserError(f"{where}: {key} is {target}, but there is no module {module}: add --config-dir DIR")
    if found is None or not (_is_part(found) or (theirs and f"{found.__module__}.".startswith(trusted))):
        raise UserError(
            f"{where} wants to build {target} at {key}, which is no part of sr. "
            f"If you trust it, type so, also if it was typed before: trust=[{module or target}]"
        )


def _is_there(module: str) -> bool:
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


def _found(module: str, name: str) -> Any:
    """The class or function of this name at the top of this module, by import and, as Hydra finds it, by attributes."""
    if not all(word.isidentifier() for word in (*module.split("."), name)):
        return None
    try:
        found = getattr(importlib.import_module(module), name)
        first, *rest = module.split(".")
        same = reduce(getattr, (*rest, name), sys.modules[first]) is found
        defined = getattr(sys.modules[found.__module__], found.__qualname__) is found
    except Exception:  # whatever a module raises that is imported only to be asked
        return None
    return found if same and defined and (inspect.isclass(found) or inspect.isfunction(found)) else None


def _is_part(found: Any) -> bool:
    """Of ours, by its room; of others, by its kind."""
    home = f"{found.__module__}."
    if home.startswith("sr."):
        wanted = inspect.isclass(found) or home.startswith(FUNCTIONS)
        return wanted and home.split(".")[1] in ROOMS and not found.__name__.startswith("_")
    bases = (
        {f"{base.__module__}.{base.__qualname__}" for base in inspect.getmro(found)} if inspect.isclass(found) else ()
    )
    return any(home.startswith(prefix) and kind in bases for prefix, kind in KINDS.items())
