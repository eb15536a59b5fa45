"""`python -m sr.reproduce RUN`: does this run, done again here, give the same numbers?"""

import sys
from pathlib import Path

from omegaconf import DictConfig

from sr.config import cli, schema
from sr.runtime.error import UserError

NOT_EQUAL = 3  # the exit code; 2 is that it could not be tried


def main() -> None:
    """The console script `sr-reproduce`."""
    cli.run_command("reproduce", reproduce, [_dial(word) for word in sys.argv[1:]])


def _dial(word: str) -> str:
    """A bare word is the run; `--dry` is `dry=true`."""
    if word == "--dry":
        return "dry=true"
    dial = word.startswith("-") or ("=" in word and not Path(word).is_dir())
    return word if dial else f"run={word}"


def reproduce(cfg: DictConfig) -> None:
    """Say what differs here, run it again, and compare; exit code 3 where the numbers are not the same."""
    schema.require_options(cfg, "run")
    schema.check_lists(cfg, "trust")
    config = schema.to_plain(cfg)
    schema.check_flags(config, "dry", "force")
    if (
        isinstance(config["tolerance"], bool)
        or not isinstance(config["tolerance"], int | float)
        or config["tolerance"] < 0
    ):
        raise UserError(f"tolerance={config['tolerance']}: expected a number, 0 or more")
    from sr.reproduction.found import found  # torch: only now, when the config is right
    from sr.reproduction.reproduction import Reproduction

    runs = Path(config["paths"]["runs"]).expanduser().resolve()
    with found(str(config.pop("run")), config.pop("uri"), runs) as run:
        equal = Reproduction(run, **config).go()
    if not equal:
        sys.exit(NOT_EQUAL)


if __name__ == "__main__":
    main()
