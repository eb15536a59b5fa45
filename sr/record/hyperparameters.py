"""Select the options of a run that a tracker shows as its hyperparameters."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

# Options that are in config.yaml only: at the root, because they change no result, and in parts, because they repeat the
# root's or say where files are.
NOT_SHOWN_AT_ROOT = (
    "paths",
    "track",
    "stages",
    "channels",
    "checkpoint_minutes",
    "checkpoint_steps",
    "resume",
    "trust",
)
NOT_SHOWN_IN_PARTS = (
    "scale", "color", "channels", "seed", "root", "metric", "clip", "accumulate", "url", "sha256", "memory", "disk", "cache",
)  # fmt: skip
SHOWN_IN_SHORT = ("scale", "seed", "data.batch", "data.patch", "model.optimizer.lr", "trainer.max_steps")
Selection = Literal["short", "all"]


def select_hyperparameters(
    config: Mapping[str, Any],
    groups: Mapping[str, str | None],
    changed: Sequence[str],
    selection: Selection = "short",
) -> dict[str, str]:
    """Return options by dotted key, `{"model.net": "edsr", "model.net.width": "64"}`: all, or a short selection.

    `groups` are the choices of the config groups by the option that holds them (`model.net`). The short selection is the
    choice of every group, typed or not, what most runs differ in, and the options `changed` (what was typed, and what an
    experiment sets). A tracker's page may print all parameters of a run above each of its images, where many of them take
    more space than the image.
    """
    options = _flatten(config)
    chosen = list_chosen_parts(config) | {key: name for key, name in groups.items() if name and not _is_hidden(key)}
    shown = options if selection == "all" else {k: v for k, v in options.items() if _is_short(k, chosen, changed)}
    return chosen | {key: value for key, value in shown.items() if key not in chosen}


def list_chosen_parts(config: Mapping[str, Any], key: str = "") -> dict[str, str]:
    """Return the options that hold parts by name, with these names: `{"model.loss": "l1+features"}`.

    Hydra does not record the choices of groups of which several can be chosen.
    """
    parts: dict[str, str] = {}
    for name, node in config.items():
        option = f"{key}.{name}".lstrip(".")
        if not isinstance(node, Mapping) or _is_hidden(option):
            continue
        values = [*node.values()]
        if values and all(isinstance(value, Mapping) and "_target_" in value for value in values) and key:
            parts[option] = "+".join(node)
        else:
            parts |= list_chosen_parts(node, option)
    return parts


def _is_short(key: str, chosen: Mapping[str, str], changed: Sequence[str]) -> bool:
    """Return True if the option belongs to the short selection; a changed group is shown by its choice alone."""
    names = (name for name in changed if name not in chosen)
    return key in SHOWN_IN_SHORT or any(key == name or key.startswith(f"{name}.") for name in names)


def _is_hidden(key: str) -> bool:
    root, _, rest = key.partition(".")
    return root in NOT_SHOWN_AT_ROOT or any(name in NOT_SHOWN_IN_PARTS for name in rest.split("."))


def _flatten(node: Any, key: str = "") -> dict[str, str]:
    """Return every option once, without those that are empty and those that are not shown."""
    if not isinstance(node, Mapping):
        return {key: str(node)}
    options: dict[str, str] = {}
    for name, part in node.items():
        option = f"{key}.{name}".lstrip(".")
        if name == "_target_":
            options[key] = str(part).rpartition(".")[2]
        elif not (name.startswith("_") or part is None or _is_hidden(option)):
            options |= _flatten(part, option)
    return options
