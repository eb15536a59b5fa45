"""Run a command: find `conf`, prepare the command line for Hydra, print errors as messages for the user."""

import sr.runtime.torchvision_shim  # noqa: F401  before anything that imports torchvision

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
from hydra._internal.config_repository import ConfigRepository
from hydra.core.object_type import ObjectType
from hydra.errors import HydraException
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from sr.config import schema
from sr.config.command_line import list_config_dirs, quote_override
from sr.config.hydra_error import explain_hydra_error, explain_null_group
from sr.config.schema import find_conf_dir
from sr.runtime.error import UserError
from sr.runtime.terminal import ProgressBar

# Hydra must neither create folders nor configure logging: each command says where it writes its results.
HYDRA_OVERRIDES = (
    "hydra/job_logging=none",
    "hydra/hydra_logging=none",
    "hydra.run.dir=.",
    f"hydra.sweep.dir='{tempfile.gettempdir()}/sr'",
    "hydra.sweep.subdir=.",
    "hydra.output_subdir=null",
)
EXIT_INTERRUPTED = 130
FLAGS_WITH_VALUE = (
    "--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn", "--package", "-p", "--cfg", "-c",
)  # fmt: skip
PATH_OPTIONS = (  # their values need no quotes
    "checkpoint", "images", "against", "input", "output", "out",
    "data.path", "data.lr", "data.hr", "paths.data", "paths.runs", "paths.cache", "model.net.file", "resume",
    "model.init", "interpolate", "run", "repository",
)  # fmt: skip


def run_command(
    name: str,
    task: Callable[[DictConfig], Any],
    argv: list[str] | None = None,
    expand: Callable[[list[str]], list[str]] = list,
) -> None:
    """Compose `conf/NAME.yaml` with the command line and call `task` with the config. A `UserError` exits with 2.

    `argv` replaces `sys.argv[1:]`. `expand` may replace the words by others, as `resume=` does by those of its run.
    """
    try:
        words = expand(list(sys.argv[1:] if argv is None else argv))
    except UserError as error:
        _exit(str(error))
    for option in list_config_dirs(words):  # a user's own parts may lie next to their YAMLs
        sys.path.insert(0, str(Path(option.partition("=")[2]).resolve()))
    ConfigRepository.get_group_options = _list_choices
    os.environ["HYDRA_FULL_ERROR"] = "1"  # raise errors instead of printing them
    old_argv, sys.argv = sys.argv, [f"sr-{name}", *_prepare_words(words), *_choose_help(name), *HYDRA_OVERRIDES]
    try:
        hydra.main(config_path=str(find_conf_dir()), config_name=name, version_base="1.3")(_exit_on_user_error(task))()
    except (HydraException, OmegaConfBaseException) as error:
        _exit(explain_hydra_error(error, name, words))
    except KeyboardInterrupt:
        _exit("interrupted", EXIT_INTERRUPTED)
    except BrokenPipeError:  # `--help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except Exception as error:
        if str(error).startswith("Config group override must be a string"):
            _exit(explain_null_group(words))
        traceback.print_exc()
        _exit(f"unexpected error, possibly a bug in sr: {type(error).__name__}: {error}", 1)
    finally:
        sys.argv = old_argv


_list_all_choices = ConfigRepository.get_group_options


def _list_choices(
    repository: ConfigRepository, group_name: str, results_filter: ObjectType | None = ObjectType.CONFIG
) -> list[str]:
    """List the choices of a config group for --help, errors and glob(*), without the files named `_NAME.yaml`.

    Such a file is no choice: it holds lines that the other files of the group share through their defaults lists.
    """
    names = _list_all_choices(repository, group_name, results_filter)
    return [name for name in names if not name.startswith("_")]


def _exit_on_user_error(task: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    """Wrap `task` so that a `UserError` exits before Hydra sees it: Hydra would print the exception as well."""

    @functools.wraps(task)
    def run_task(cfg: DictConfig) -> Any:
        try:
            _set_progress(cfg)
            return task(cfg)
        except UserError as error:
            _exit(str(error))

    return run_task


def _set_progress(cfg: DictConfig) -> None:
    """Apply the option `progress`, and remove it from the config: it is about the terminal, and no part of a run."""
    schema.check_flags(cfg, "progress")
    with open_dict(cfg):
        ProgressBar.is_enabled = cfg.pop("progress", True)


def _exit(message: str, code: int = 2) -> NoReturn:
    print(f"\nerror: {message}" if code != EXIT_INTERRUPTED else f"\n{message}", file=sys.stderr)
    raise SystemExit(code)


def _choose_help(name: str) -> list[str]:
    """Return the overrides for `--help`: the command's own file in conf/hydra/help, or a general one."""
    if (find_conf_dir() / "hydra" / "help" / f"{name}.yaml").exists():
        return [f"hydra/help={name}"]
    return ["hydra/help=_command", f"hydra.help.app_name=sr-{name}"]


def _prepare_words(words: list[str]) -> list[str]:
    """Put flags before overrides, as Hydra's parser requires, and quote paths, as its grammar requires."""
    flags: list[str] = []
    overrides: list[str] = []
    remaining = iter(words)
    for word in remaining:
        if word.startswith("-"):
            flags.append(word)
            if word in FLAGS_WITH_VALUE:
                flags += [value for value in [next(remaining, None)] if value is not None]
        else:
            overrides.append(word)
    is_sweep = {"-m", "--multirun"} & set(flags)  # in a sweep a comma separates two values
    return [*flags, *(overrides if is_sweep else map(_quote_path, overrides))]


def _quote_path(override: str) -> str:
    """Quote the value of a path option unless it is plain, quoted already, a list or an interpolation."""
    key, equals, value = override.partition("=")
    is_path = equals and key in PATH_OPTIONS
    if not is_path or "${" in value or value[:1] in ("'", '"', "[") or re.fullmatch(r"[\w./-]+", value):
        return override
    return f"{key}={quote_override(value)}"
