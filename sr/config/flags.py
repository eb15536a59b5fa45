"""Check the words of a command line before Hydra sees them: unknown flags, and options of Hydra that sr sets itself."""

import re
from collections.abc import Sequence

from hydra._internal.utils import get_args_parser

from sr.config.suggestion import list_valid_keys, suggest_words
from sr.runtime.error import UserError, suggest_nearest

# Options of Hydra that `sr.config.cli` sets, and what to type instead.
REPLACED_OPTIONS = {
    "hydra.run.dir": "each run gets a folder of its own in paths.runs: type paths.runs=FOLDER",
    "hydra.sweep.dir": "each run gets a folder of its own in paths.runs: type paths.runs=FOLDER",
    "hydra.sweep.subdir": "each run gets a folder of its own in paths.runs; runs are selected by track.group=NAME",
    "hydra.output_subdir": "config.yaml and overrides.yaml are always in the run's folder; leave it out",
    "hydra.job.chdir": "paths are relative to the folder in which you type the command; leave it out",
    "hydra/job_logging": "sr prints to the terminal, and logs to track=…; leave it out",
    "hydra/hydra_logging": "sr prints to the terminal, and logs to track=…; leave it out",
    "hydra/help": "each command has its own help; leave it out",
}


def check_words(words: Sequence[str], command: str) -> None:
    """Raise if a flag is unknown, as `--epochs=3` is, or an option would have no effect."""
    flags = set(get_args_parser()._option_string_actions)
    for i, word in enumerate(words):
        key, equals, value = word.partition("=")
        if word.startswith("-") and key not in flags:
            following = words[i + 1] if i + 1 < len(words) and not re.match(r"-\D|.*=", words[i + 1]) else None
            typed = f"{word} {following}" if following and not equals else word
            raise UserError(f"{typed}: {_explain_flag(key, value or following, command, words)}")
        reason = REPLACED_OPTIONS.get(key.lstrip("+~").partition("@")[0])
        if equals and reason:
            raise UserError(f"{word}: {reason}")


def _explain_flag(flag: str, value: str | None, command: str, words: Sequence[str]) -> str:
    """Return what to type instead of an unknown flag: another flag, or `key=value`."""
    nearest = suggest_nearest(flag, get_args_parser()._option_string_actions)
    overrides = [word for word in words if "=" in word and not word.startswith("-")]
    suggestion = suggest_words(flag.lstrip("-").replace("-", "_"), value, list_valid_keys(command, overrides))
    if suggestion:
        return f"options are typed as key=value, without dashes: {suggestion}"
    return f"there is no such flag.{nearest} Options are typed as key=value, see --help"
