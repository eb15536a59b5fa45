"""Old names of options, choices and classes, with the names that they have now.

The one table for all: a command line or a YAML that uses an old name is answered with the new one, and the configs of
old checkpoints and runs are translated when they are read.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

# Dotted key of an option, old -> new. A `*` stands for one name, as in `model.penalty.*.every`.
OPTIONS: dict[str, str] = {
    "watch": "monitor",
    "watch_also": "monitor_also",
    "save_minutes": "checkpoint_minutes",
    "save_steps": "checkpoint_steps",
    "model.net.start": "model.net.initialization",
    "model.net.compress": "model.net.compress_ratio",
    "model.net.squeeze": "model.net.squeeze_factor",
    "model.weight": "model.adversarial_weight",
    "model.noise": "model.instance_noise",
    "model.share_every": "model.gradient_share_interval",
    "model.guard.explosion": "model.guard.explosion_factor",
    "model.guard.skips": "model.guard.max_skips",
    "model.guard.returns": "model.guard.max_rollbacks",
    "model.guard.lower": "model.guard.lr_factor",
    "model.guard.keep_every": "model.guard.snapshot_interval",
    "model.penalty.*.every": "model.penalty.*.interval",
    "model.adversarial.smooth": "model.adversarial.label_smoothing",
    "model.alarm.collapse.alike": "model.alarm.collapse.diversity",
    "model.alarm.d_wins.share": "model.alarm.d_wins.gradient_share",
    "model.schedule.start": "model.schedule.start_factor",
    "model.schedule.final": "model.schedule.final_factor",
    "track.system_every": "track.system_interval",
}
# Choice of a config group, old -> new, as in `model/net=old`: `model/net=new`.
CHOICES: dict[str, str] = {}
# Class path of a `_target_`, old -> new.
TARGETS = {
    "sr.trainer.Trainer": "sr.trainer.default.Trainer",
    "sr.track.none.Nothing": "sr.track.none.NoTracker",
    "sr.loss.ms_ssim.MSSSIM": "sr.loss.ms_ssim.MSSSIMLoss",
    "sr.net.bicubic.Bicubic": "sr.net.bicubic.BicubicNet",
    "torch.nn.L1Loss": "sr.loss.l1.L1",  # of model/loss=l1, with the same bits
}
# Arguments of the parts in a list, which have no key of their own: class path -> {old: new}.
ARGUMENTS: dict[str, dict[str, str]] = {
    "sr.degrade.blur.Blur": {"plateau": "plateau_beta", "sinc": "sinc_probability"},
    "sr.degrade.line.Line": {
        "row": "row_sigma", "column": "column_sigma", "hum": "hum_amplitude", "bars": "hum_periods",
    },
    "sr.degrade.mosaic.Mosaic": {"shot": "shot_noise", "read": "read_noise"},
    "sr.degrade.noise.Gaussian": {"gray": "gray_probability", "correlated": "correlated_probability"},
    "sr.degrade.noise.Poisson": {"gray": "gray_probability"},
    "sr.degrade.order.Shuffle": {"ordered": "fixed_order"},
    "sr.degrade.resample.Resample": {"ways": "directions", "of": "relative_to", "evenly": "uniform_in"},
}  # fmt: skip
# Values of such an argument, old -> new: class path, argument -> {old: new}.
ARGUMENT_VALUES: dict[tuple[str, str], dict[str, str]] = {
    ("sr.degrade.resample.Resample", "relative_to"): {"now": "input"},
}


@lru_cache(maxsize=4096)
def find_new_name(key: str) -> str | None:
    """Return the present name of the option `key` (`model.net.width`), or None if `key` is no old name."""
    for old, new in OPTIONS.items():
        match = re.match(re.escape(old).replace(r"\*", r"([^.\[]+)") + r"(?=\.|$)", key)
        if match:
            names = iter(match.groups())
            words = (next(names) if word == "*" else word for word in new.split("."))
            return ".".join(words) + key[match.end() :]
    return None


def find_old_names(config: Any) -> dict[str, str]:
    """Return the old option names that a nested config contains, each with its present name."""
    names: dict[str, str] = {}
    for path, value, new in _list_options(config):
        key = ".".join(map(str, path))
        names |= {key: new} if new is not None else dict(_list_old_arguments(value, key))
    return names


def update_config(config: Any) -> Any:
    """Return a copy of a stored config in which every old option and `_target_` has its present name.

    A value that already stands under the present name is not overwritten. What is no dictionary is returned as it is.
    """
    if not isinstance(config, dict):
        return config
    result: dict[str, Any] = {}
    options = list(_list_options(config))
    for path, value, new in options:
        if new is None:
            _set_default(result, path, _update_targets(value, path[-1]))
    for _, value, new in options:  # last: the present name has precedence, wherever it stands
        if new is not None:
            _set_default(result, tuple(new.split(".")), _update_targets(value, None))
    return result


def update_override(word: str) -> str:
    """Return an override (`watch=ssim`, `model/net=old`) with the present name of its option or choice."""
    match = re.match(r"([+~]*)([\w./@]+)(=?)(.*)", word, re.DOTALL)
    if match is None:
        return word
    prefix, key, equals, value = match.groups()
    if equals and any(choice.startswith(f"{key}=") for choice in CHOICES):  # one choice, or a list: [one,another]
        value = re.sub(r"\w+", lambda name: CHOICES.get(f"{key}={name[0]}", f"={name[0]}").partition("=")[2], value)
    return f"{prefix}{find_new_name(key) or key}{equals}{value}"


def _list_options(
    node: Any, path: tuple[Any, ...] = (), is_own: bool = False
) -> Iterator[tuple[tuple[Any, ...], Any, str | None]]:
    """Yield path, value and new name (None: it has not changed) of every option in a nested config.

    Lists are values, and so are empty dictionaries. The options of a user's own part (`is_own`) have no new names.
    """
    if isinstance(node, dict) and (node or not path):
        is_own = not node["_target_"].startswith("sr.") if isinstance(node.get("_target_"), str) else is_own
        for name, value in node.items():
            yield from _list_options(value, (*path, name), is_own)
    elif path:
        yield path, node, None if is_own else find_new_name(".".join(map(str, path)))


def _update_targets(value: Any, name: Any) -> Any:
    """Return a value with present class paths, also inside a list of parts."""
    if isinstance(value, list):
        return [_update_targets(item, None) for item in value]
    if isinstance(value, dict):
        return _update_arguments({key: _update_targets(item, key) for key, item in value.items()})
    return TARGETS.get(value, value) if name == "_target_" and isinstance(value, str) else value


def _update_arguments(part: dict[Any, Any]) -> dict[Any, Any]:
    """Return the arguments of a part in a list with their present names and values; `_target_` is up to date."""
    target = part.get("_target_")
    if not isinstance(target, str):
        return part
    names = ARGUMENTS.get(target, {})
    result = {key: value for key, value in part.items() if key not in names}
    for old, new in names.items():
        if old in part:
            value = part[old]
            values = ARGUMENT_VALUES.get((target, new), {})
            result.setdefault(new, values.get(value, value) if isinstance(value, str) else value)
    return result


def _list_old_arguments(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """Yield key and present name of each old argument of the parts in a list, at any depth."""
    if isinstance(value, list):
        for k, item in enumerate(value):
            yield from _list_old_arguments(item, f"{key}[{k}]")
    elif isinstance(value, dict):
        target = value.get("_target_")
        names = ARGUMENTS.get(TARGETS.get(target, target), {}) if isinstance(target, str) else {}
        for name, item in value.items():
            if name in names:
                yield f"{key}.{name}", f"{key}.{names[name]}"
            yield from _list_old_arguments(item, f"{key}.{name}")


def _set_default(config: dict[Any, Any], path: tuple[Any, ...], value: Any) -> None:
    """Set the value at `path`, unless there is one already, or one of its parents is not a dictionary."""
    *parents, name = path
    for parent in parents:
        config = config.setdefault(parent, {})
        if not isinstance(config, dict):
            return
    config.setdefault(name, value)
