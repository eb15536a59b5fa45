"""What every verb shares: finding `conf`, starting Hydra, and answering an error in the user's words."""

import functools
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sr.config.schema import find_conf_dir
from sr.runtime.error import UserError, suggest_nearest
from sr.runtime.launch import list_config_dirs, quote_override

# Hydra neither makes folders nor logs: each verb says itself where its results are.
QUIET = (
    "hydra/job_logging=none",
    "hydra/hydra_logging=none",
    "hydra.run.dir=.",
    f"hydra.sweep.dir='{tempfile.gettempdir()}/sr'",
    "hydra.sweep.subdir=.",
    "hydra.output_subdir=null",
)
INTERRUPTED = 130
VALUED = ("--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn", "--package", "-p", "--cfg", "-c")
PATHS = (
    "checkpoint", "images", "against", "input", "output", "out",
    "data.path", "data.lr", "data.hr", "paths.data", "paths.runs", "paths.cache", "model.net.file", "resume",
    "model.init", "interpolate", "run", "repository",
)  # fmt: skip


def run_command(
    name: str, task: Callable[[DictConfig], Any], argv: list[str] | None = None,
    read: Callable[[list[str]], list[str]] = list,
) -> None:  # fmt: skip
    """Compose `conf/NAME.yaml` with the command line and call `task` with it. A user's error exits with 2.

    `read` says what the words mean, where that is more than what they say.
    """
    try:
        typed = read(list(sys.argv[1:] if argv is None else argv))
    except UserError as error:
        _exit(str(error))
    _admit_own_parts(typed)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us instead of being printed by Hydra
    before, sys.argv = sys.argv, [f"sr-{name}", *_sorted(typed), f"hydra/help={name}", *QUIET]
    try:
        hydra.main(config_path=str(find_conf_dir()), config_name=name, version_base="1.3")(_answering(task))()
    except (HydraException, OmegaConfBaseException) as error:
        _exit(_explain(error, name, typed))
    except KeyboardInterrupt:
        _exit("interrupted", INTERRUPTED)
    except BrokenPipeError:  # `--help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except Exception as error:
        if str(error).startswith("Config group override must be a string"):
            _exit(f"{_nothing(typed)}: a group cannot be null; leave the word out, or name a choice (see --help)")
        traceback.print_exc()
        _exit(f"this was not foreseen, and may be a fault of sr: {type(error).__name__}: {error}", 1)
    finally:
        sys.argv = before


def _answering(task: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    """Hydra announces every exception of a task on its own; a user's error is answered before it gets there."""

    @functools.wraps(task)
    def answered(cfg: DictConfig) -> Any:
        try:
            return task(cfg)
        except UserError as error:
            _exit(str(error))

    return answered


def _exit(message: str, code: int = 2) -> NoReturn:
    print(f"\nerror: {message}" if code != INTERRUPTED else f"\n{message}", file=sys.stderr)
    raise SystemExit(code)


def _admit_own_parts(typed: list[str]) -> None:
    """A user's parts may lie beside their YAMLs: DIR of --config-dir joins the import path."""
    for option in list_config_dirs(typed):
        sys.path.insert(0, str(Path(option.partition("=")[2]).resolve()))


def _sorted(typed: list[str]) -> list[str]:
    """Options before overrides, as Hydra's parser wants them, and paths quoted, as its grammar wants them."""
    options: list[str] = []
    overrides: list[str] = []
    words = iter(typed)
    for word in words:
        if word.startswith("-"):
            options.append(word)
            if word in VALUED:
                options += [value for value in [next(words, None)] if value is not None]
        else:
            overrides.append(word)
    sweeping = {"-m", "--multirun"} & set(options)  # there a comma parts two values
    return [*options, *(overrides if sweeping else map(_quoted, overrides))]


def _quoted(word: str) -> str:
    key, equals, value = word.partition("=")
    if (
        not equals
        or key not in PATHS
        or "${" in value
        or value[:1] in ("'", '"', "[")
        or re.fullmatch(r"[\w./-]+", value)
    ):
        return word
    return f"{key}={quote_override(value)}"


def _explain(error: Exception, name: str, typed: list[str]) -> str:
    """Hydra's message in one breath, with the nearest right word."""
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    text = str(error).split("\nSee ")[0].strip()
    if isinstance(error, MissingConfigException):
        return (_choices(str(error)) or text) + _own_parts_again(typed)
    if isinstance(error, OverrideParseException):
        key, equals, value = str(error.override).partition("=")
        if equals and "/" in key and "." in key:
            return f"cannot read {error.override!r}: a dial is set with dots, {key.replace('/', '.')}={value}"
        return f"cannot read {error.override!r}: expected key=value ({text.splitlines()[0]})"
    unknown = re.search(r"Could not override '(.+?)'", text)
    if unknown:
        key = unknown[1]
        if "/" in key and (find_conf_dir() / key).is_dir():
            parent = key.rpartition("/")[0]
            return f"{key} is not part of the chosen {parent}: choose another {parent}=… that has it (see --help)"
        return f'there is no dial or group "{key}".{suggest_nearest(key, _keys(name, typed))} See --help'
    return str(getattr(cause, "msg", None) or text).splitlines()[0] + f" ({getattr(cause, 'full_key', '') or 'config'})"


def _nothing(typed: list[str]) -> str:
    """The words that choose null for a group, of whose choices Hydra wants a name."""
    groups = [word for word in typed if (find_conf_dir() / re.split("[@=]", word)[0]).is_dir()]
    return ", ".join(word for word in groups if word.endswith("=null"))


def _own_parts_again(typed: list[str]) -> str:
    """A run that goes on brings its choices with it, but not the folder in which some of them are found."""
    goes_on = any(word.startswith("resume=") for word in typed) and not list_config_dirs(typed)
    return " If it is a part of your own: --config-dir DIR has to be typed again" if goes_on else ""


def _choices(text: str) -> str | None:
    """What could have been chosen, where a group has no such choice; of a list Hydra names only the one it missed."""
    missing = re.search(r"[Cc]ould not (?:find|load) '(.+?)'", text)
    group, _, choice = missing[1].rpartition("/") if missing else ("", "", "")
    options = re.findall(r"^\t(\w+)$", text, re.MULTILINE) or sorted(
        p.stem for p in (find_conf_dir() / group).glob("*.yaml")
    )
    return (
        f"{group}={choice}: expected one of {', '.join(options)}.{suggest_nearest(choice, options)}" if group else None
    )


def _keys(name: str, typed: list[str]) -> list[str]:
    """All keys and groups that could have been typed, under the groups that were chosen rightly."""
    GlobalHydra.instance().clear()
    groups = [str(p.relative_to(find_conf_dir())) for p in find_conf_dir().rglob("*") if p.is_dir()]
    choices = [word for word in typed if re.fullmatch(r"[\w/]+=\w+", word) and word.split("=")[0] in groups]
    with hydra.initialize_config_dir(str(find_conf_dir()), version_base="1.3"):
        try:
            cfg = hydra.compose(name, choices)
        except HydraException:  # one of them is wrong as well, and will be answered next
            cfg = hydra.compose(name)
    return [*groups, *_flat(OmegaConf.to_container(cfg, resolve=False))]


def _flat(node: dict[str, Any], prefix: str = "") -> list[str]:
    keys = []
    for name, value in node.items():
        keys.append(prefix + str(name))
        if isinstance(value, dict):
            keys += _flat(value, f"{prefix}{name}.")
    return keys
