"""`python -m sr.register RUN`: put a run's network into MLflow's model registry, and let an alias point to the best one."""

import sys
from pathlib import Path

from omegaconf import DictConfig

from sr.config import cli, schema
from sr.config.command_line import format_value
from sr.config.options import RegisterOptions


def main() -> None:
    """Run the console script `sr-register`; a word that is no `key=value` names the run."""
    cli.run_command("register", register, [_to_override(word) for word in sys.argv[1:]])


def register(cfg: DictConfig) -> None:
    """Register the checkpoint of `run` as a new version of `name`, and move the alias if it is better."""
    schema.require_options(cfg, "run")
    config = schema.check_options(cfg, RegisterOptions, "sets")
    from sr.registration.registration import register_run

    register_run(config)


def _to_override(word: str) -> str:
    is_override = word.startswith("-") or ("=" in word and not Path(word).is_dir())
    return word if is_override else f"run={format_value(word)}"


if __name__ == "__main__":
    main()
