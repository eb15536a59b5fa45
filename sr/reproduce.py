"""`python -m sr.reproduce RUN`: repeat a run on this machine and compare every number with the recorded ones."""

import sys
from pathlib import Path

from omegaconf import DictConfig

from sr.config import cli, schema
from sr.config.command_line import format_value
from sr.config.options import ReproduceOptions

NOT_REPRODUCED = 3  # the exit code; 2: it could not be tried


def main() -> None:
    """Run the console script `sr-reproduce`."""
    cli.run_command("reproduce", reproduce, [_to_override(word) for word in sys.argv[1:]])


def reproduce(cfg: DictConfig) -> None:
    """Print what differs on this machine, repeat the run and compare; exit with 3 if the numbers are not reproduced."""
    schema.require_options(cfg, "run")
    config = schema.check_options(cfg, ReproduceOptions, "trust")
    from sr.reproduction.locate import locate_run  # these import torch: only now, when the config is right
    from sr.reproduction.reproduction import Reproduction

    runs = Path(config["paths"]["runs"]).expanduser().resolve()
    with locate_run(str(config.pop("run")), config.pop("uri"), runs) as located:
        is_reproduced = Reproduction(located, **config).execute()
    if not is_reproduced:
        sys.exit(NOT_REPRODUCED)


def _to_override(word: str) -> str:
    """Return a word of the command line as Hydra reads it: a bare word is the run, `--dry` is `dry=true`."""
    if word == "--dry":
        return "dry=true"
    is_override = word.startswith("-") or ("=" in word and not Path(word).is_dir())
    return word if is_override else f"run={format_value(word)}"


if __name__ == "__main__":
    main()
