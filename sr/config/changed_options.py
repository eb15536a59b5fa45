"""Find which options and config groups a command sets itself: those that were typed, and those of an experiment."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from sr.config.diff import flatten
from sr.config.schema import find_conf_dir

EXPERIMENT = "experiment"  # the config group of overlays on all others


def name_group(group: str) -> str:
    """Return the option that holds a config group: `model.discriminator_optimizer` of Hydra's name
    `model/optimizer@model.discriminator_optimizer`."""
    return group.rpartition("@")[2].removeprefix("_global_.").strip("/").replace("/", ".")


def list_changed_options(
    choices: Mapping[str, str | None], overrides: Sequence[str], config_dirs: Sequence[Path] = ()
) -> list[str]:
    """Return the dotted keys of options and groups that the words of the command line or the chosen experiment set.

    All others have the defaults of the chosen groups. What was typed comes first. `config_dirs` are searched for the
    experiment after `conf`.
    """
    typed = [name_group(word.lstrip("+~").partition("=")[0]) for word in overrides]
    of_experiment = _list_experiment_options(choices.get(EXPERIMENT), [find_conf_dir(), *config_dirs])
    return list(dict.fromkeys([*typed, *of_experiment]))


def _list_experiment_options(name: Any, folders: Sequence[Path]) -> Iterator[str]:
    """Yield the keys that an experiment sets, and those of the experiments that it is based on."""
    file = next((path for folder in folders if (path := folder / EXPERIMENT / f"{name}.yaml").exists()), None)
    if file is None:
        return
    content: Any = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    for default in content.pop("defaults", []):
        for word, choice in default.items() if isinstance(default, dict) else [(EXPERIMENT, default)]:
            group = name_group(word.removeprefix("override ").removeprefix("optional "))
            if group == EXPERIMENT:
                yield from _list_experiment_options(choice, folders)
            else:
                yield group
    yield from flatten(content)
