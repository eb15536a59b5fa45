"""Turn Hydra's errors about a command line into messages for the user, with the nearest valid name."""

import re
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sr.config import renamed
from sr.config.command_line import list_config_dirs, quote_override
from sr.config.schema import find_conf_dir
from sr.runtime.error import suggest_nearest


def explain_hydra_error(error: Exception, command: str, words: list[str]) -> str:
    """Return the message for an error that Hydra or OmegaConf raised while composing `conf/COMMAND.yaml` with `words`."""
    text = str(error).split("\nSee ")[0].strip()
    if isinstance(error, MissingConfigException):
        return _explain_missing_choice(text, words)
    if isinstance(error, OverrideParseException):
        return _explain_parse_error(str(error.override), text)
    unknown = re.search(r"Could not (?:override|delete from config\.) '(.+?)'", text)
    if unknown:
        return _explain_unknown_option(unknown[1], command, words)
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    message = str(getattr(cause, "msg", None) or text).splitlines()[0]
    return f"{message} ({getattr(cause, 'full_key', '') or 'config'})"


def explain_null_group(words: list[str]) -> str:
    """Return the message for a command line that chooses null for a config group; Hydra does not name the group."""
    groups = [word for word in words if (find_conf_dir() / re.split("[@=]", word)[0]).is_dir()]
    wrong = ", ".join(word for word in groups if word.endswith("=null"))
    return f"{wrong}: a group cannot be null; leave it out, or choose one of its options (see --help)"


def _explain_missing_choice(text: str, words: list[str]) -> str:
    """Explain that a group has no such choice (`model/net=edrs`) and list those that it has."""
    match = re.search(r"[Cc]ould not (?:find|load) '(.+)/(.+?)'", text)
    if match is None:
        return text
    group, choice = match.groups()
    if f"{group}={choice}" in renamed.CHOICES:
        return _list_new_names(words)
    # If one item of a list is missing, Hydra does not list the choices.
    choices = re.findall(r"^\t(\w+)$", text, re.MULTILINE)
    choices = choices or sorted(path.stem for path in (find_conf_dir() / group).glob("[!_]*.yaml"))
    message = f"{group}={choice}: expected one of {', '.join(choices)}.{suggest_nearest(choice, choices)}"
    # A resumed run brings its choices with it, but not the folder of the user's own parts.
    if any(word.startswith("resume=") for word in words) and not list_config_dirs(words):
        message += " If it is a part of your own: --config-dir DIR has to be typed again"
    return message


def _explain_parse_error(override: str, text: str) -> str:
    key, equals, value = override.partition("=")
    if equals and "/" in key and "." in key:
        return f"cannot read {override!r}: an option is set with dots, {key.replace('/', '.')}={value}"
    return f"cannot read {override!r}: expected key=value ({text.splitlines()[0]})"


def _explain_unknown_option(key: str, command: str, words: list[str]) -> str:
    if renamed.find_new_name(key):
        return _list_new_names(words)
    if "/" in key and (find_conf_dir() / key).is_dir():
        parent = key.rpartition("/")[0]
        return f"{key} is not part of the chosen {parent}: choose another {parent}=… that has it (see --help)"
    nearest = suggest_nearest(key, _list_valid_keys(command, words))
    return f'there is no option or group "{key}".{nearest} See --help'


def _list_new_names(words: list[str]) -> str:
    """Return one line for each override that uses an old name of an option or choice."""
    lines = []
    for word in words:
        new_word = renamed.update_override(word)
        old_key, (key, _, value) = word.partition("=")[0], new_word.partition("=")
        what = f"choice is now called {value}" if key == old_key else f"option is now called {key.lstrip('+~')}"
        lines += [f"{word}: this {what}; type {new_word}"] if new_word != word else []
    return "\n".join(lines)


def _list_valid_keys(command: str, words: list[str]) -> list[str]:
    """List the groups and options that can be set under the valid choices among `words`."""
    GlobalHydra.instance().clear()
    folders = [find_conf_dir(), *(Path(option.partition("=")[2]).resolve() for option in list_config_dirs(words))]
    home = next((folder for folder in folders if (folder / f"{command}.yaml").exists()), folders[0])
    search_path = f"hydra.searchpath=[{','.join(quote_override(f'file://{folder}') for folder in folders)}]"
    groups = sorted(
        {str(path.relative_to(folder)) for folder in folders for path in folder.rglob("*") if path.is_dir()}
    )
    choices = [word for word in words if re.fullmatch(r"[\w/]+=\w+", word) and word.split("=")[0] in groups]
    with hydra.initialize_config_dir(str(home), version_base="1.3"):
        try:
            cfg = hydra.compose(command, [*choices, search_path])
        except HydraException:  # a choice is invalid, too; it is reported once this key is right
            cfg = hydra.compose(command, [search_path])
    return [*groups, *_list_keys(OmegaConf.to_container(cfg, resolve=False))]


def _list_keys(node: dict[str, Any], prefix: str = "") -> list[str]:
    """List the dotted keys of a nested config, those of groups included."""
    keys = []
    for name, value in node.items():
        keys.append(f"{prefix}{name}")
        if isinstance(value, dict):
            keys += _list_keys(value, f"{prefix}{name}.")
    return keys
