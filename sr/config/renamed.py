"""Old names of options and classes, with the names that they have now.

The one table for all: a command line that uses an old name is answered with the new one, and configs of old checkpoints
and runs are translated when they are read.
"""

import re
from typing import Any

# Dotted key of the option, old -> new. A `*` stands for one name, as in `model.penalty.*.every`.
OPTIONS: dict[str, str] = {}
# Class path of a `_target_`, old -> new.
TARGETS = {
    "sr.trainer.Trainer": "sr.trainer.default.Trainer",
    "sr.track.none.Nothing": "sr.track.none.NoTracker",
    "sr.loss.ms_ssim.MSSSIM": "sr.loss.ms_ssim.MSSSIMLoss",
    "sr.net.bicubic.Bicubic": "sr.net.bicubic.BicubicNet",
}


def find_new_name(key: str) -> str | None:
    """Return the present name of the option `key` (`model.net.width`), or None if `key` is no old name."""
    for old, new in OPTIONS.items():
        found = re.match(re.escape(old).replace(r"\*", r"([^.]+)") + r"(?=\.|$)", key)
        if found:
            names = iter(found.groups())
            words = (next(names) if word == "*" else word for word in new.split("."))
            return ".".join(words) + key[found.end() :]
    return None


def update_config(config: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of a stored config in which every old option and `_target_` has its present name.

    A value that already stands under the present name is not overwritten.
    """
    moved: dict[str, Any] = {}
    result = _copy(config, "", moved)
    for key, value in moved.items():
        *parents, last = key.split(".")
        node = result
        for parent in parents:
            node = node.setdefault(parent, {})
        node.setdefault(last, value)
    return result


def update_override(word: str) -> str:
    """Return an override of a stored command line, `watch=ssim`, with the present name of its option."""
    found = re.match(r"([+~]*)([\w./]+)", word)
    new = find_new_name(found[2]) if found else None
    return word if new is None else f"{found[1]}{new}{word[found.end() :]}"


def _copy(node: Any, key: str, moved: dict[str, Any]) -> Any:
    """Copy a node; what is found under an old name goes into `moved`, by its new one."""
    if isinstance(node, list):
        return [_copy(item, key, moved) for item in node]
    if not isinstance(node, dict):
        return TARGETS.get(node, node) if key.rpartition(".")[2] == "_target_" and isinstance(node, str) else node
    result = {}
    for name, part in node.items():
        place = f"{key}.{name}" if key else str(name)
        value, new = _copy(part, place, moved), find_new_name(place)
        if new is None:
            result[name] = value
        elif not isinstance(part, dict):  # the values of a renamed group have moved one by one
            moved[new] = value
    return result
