"""Run a command: find `conf`, prepare the command line for Hydra, print errors as messages for the user."""

import sr.runtime.torchvision_shim  # noqa: F401  before anything that imports torchvision

import functools
import io
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.hydra import Hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from sr.config.command_line import escape_interpolation, list_config_dirs, quote_override
from sr.config.flags import check_words
from sr.config.help import HELP_FLAGS, format_help
from sr.config.hydra_error import explain_hydra_error, explain_null_group, explain_unknown_home
from sr.config.quoting import MULTIRUN_FLAGS, quote_words, split_words
from sr.config.schema import find_conf_dir
from sr.config.value import find_wrong_value
from sr.runtime import garbage
from sr.runtime.error import UserError
from sr.runtime.redact import mask_passwords
from sr.runtime.signals import signals
from sr.runtime.terminal import ProgressBar

# Hydra must neither create folders nor configure logging: each command says where it writes its results.
HYDRA_OVERRIDES = (
    "hydra/job_logging=none",
    "hydra/hydra_logging=none",
    "hydra.run.dir=.",
    f"hydra.sweep.dir={quote_override(f'{tempfile.gettempdir()}/sr')}",
    "hydra.sweep.subdir=.",
    "hydra.output_subdir=null",
)
EXIT_INTERRUPTED = 130


def run_command(
    name: str,
    task: Callable[[DictConfig], Any],
    argv: list[str] | None = None,
    expand: Callable[[list[str]], list[str]] = list,
) -> None:
    """Compose `conf/NAME.yaml` with the command line and call `task` with the config. A `UserError` exits with 2.

    `argv` replaces `sys.argv[1:]`. `expand` may replace the words by others, as `resume=` does by those of its run; texts
    among them have Hydra's quotes.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file name may be no UTF-8, and its result must be printed as well
        sys.stdout.reconfigure(errors="backslashreplace")
    garbage.skip_at_exit()
    words = list(sys.argv[1:] if argv is None else argv)
    if "--version" in words:
        print(f"sr {sys.modules['sr'].__version__}")
        return
    if HELP_FLAGS & set(words):  # of the command as it is typed, of which nothing is run
        words = [word for word in words if word not in HELP_FLAGS | MULTIRUN_FLAGS]
        run = functools.partial(_print_help, name)
    else:
        run = functools.partial(_run_task, task)
    try:
        check_words(words, name)
        flags, overrides = split_words(expand(quote_words(words, name)))
    except UserError as error:
        _exit(str(error))
    for option in list_config_dirs(flags):  # a user's own parts may lie next to their YAMLs
        sys.path.insert(0, str(Path(option.partition("=")[2]).resolve()))
    ConfigRepository.get_group_options = _list_choices
    Hydra.get_mode = _read_mode
    os.environ["HYDRA_FULL_ERROR"] = "1"  # raise errors instead of printing them
    old_argv, sys.argv = sys.argv, [f"sr-{name}", *flags, *overrides, *HYDRA_OVERRIDES]
    words = [*flags, *overrides]
    try:
        hydra.main(config_path=str(find_conf_dir()), config_name=name, version_base="1.3")(
            _exit_on_user_error(run, words)
        )()
    except (HydraException, OmegaConfBaseException) as error:
        _exit(explain_hydra_error(error, name, words))
    except KeyboardInterrupt:
        _exit(signals.abort_reason or "interrupted", 2 if signals.abort_reason else EXIT_INTERRUPTED)
    except BrokenPipeError:  # `--help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except Exception as error:
        if str(error).startswith("Config group override must be a string"):
            _exit(explain_null_group(words))
        print(mask_passwords(traceback.format_exc()), file=sys.stderr)
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


_compose_and_read_mode = Hydra.get_mode
HYDRA_WORDS = ("hydra", "+hydra", "++hydra", "-c", "--config")  # -cn, -cp, -cd: with a config of the user's own


def _read_mode(engine: Hydra, config_name: str | None, overrides: list[str]) -> RunMode | None:
    """Return `hydra.mode`, without composing the config for it where nobody can have set it: None, a single run.

    Hydra would compose the whole config twice, the first time for this value only: half of the time to an error message.
    """
    words = [word for word in sys.argv[1:] if word not in HYDRA_OVERRIDES]
    return (
        _compose_and_read_mode(engine, config_name, overrides)
        if any(word.startswith(HYDRA_WORDS) for word in words)
        else None
    )


def _exit_on_user_error(task: Callable[[DictConfig], Any], words: list[str]) -> Callable[[DictConfig], Any]:
    """Wrap `task` so that a `UserError` exits before Hydra sees it: Hydra would print the exception as well."""

    @functools.wraps(task)
    def run_task(cfg: DictConfig) -> Any:
        try:
            return task(cfg)
        except UserError as error:
            _exit(str(error))
        except RuntimeError as error:
            if str(error).startswith("Could not determine home directory"):  # of `Path.expanduser`
                _exit(explain_unknown_home(words))
            raise

    return run_task


def _run_task(task: Callable[[DictConfig], Any], cfg: DictConfig) -> Any:
    """Apply the option `progress`, and run the task without it: it is about the terminal, and no part of a run."""
    wrong = find_wrong_value(cfg.get("progress", True), bool, "progress")
    if wrong:
        raise UserError(wrong.message)
    with open_dict(cfg):
        ProgressBar.is_enabled = cfg.pop("progress", True)
    return task(cfg)


def _exit(message: str, code: int = 2) -> NoReturn:
    message = mask_passwords(message)
    print(f"\nerror: {message}" if code != EXIT_INTERRUPTED else f"\n{message}", file=sys.stderr)
    raise SystemExit(code)


def read_overrides() -> list[str]:
    """Return the overrides of the command line as Hydra read them, so that they mean the same when they are typed again."""
    return [escape_interpolation(word) for word in HydraConfig.get().overrides.task]


def _print_help(name: str, cfg: DictConfig) -> None:
    print(format_help(name, cfg, HydraConfig.get()), end="")
