"""`python -m sr.compare RUN RUN …`: which run is better, and is it more than noise?"""

import sys
from pathlib import Path

from omegaconf import DictConfig

from sr.config import cli, schema
from sr.config.command_line import format_value
from sr.config.options import CompareOptions
from sr.runtime.error import UserError


def main() -> None:
    """Run the console script `sr-compare`; words that are no `key=value` name runs."""
    words = sys.argv[1:]
    named = [word for word in words if not word.startswith("-") and ("=" not in word or Path(word).exists())]
    rest = [word for word in words if word not in named]

    def check(overrides: list[str]) -> list[str]:
        if sum(word.startswith("runs=") for word in overrides) > 1:
            raise UserError("runs=…: expected the runs once, as words of their own or in runs=[…] (found both)")
        return overrides

    cli.run_command("compare", compare, [*rest, *([f"runs={format_value(named)}"] if named else [])], check)


def compare(cfg: DictConfig) -> None:
    """Group the runs that the config names, print a table for each test set, and write the files of the comparison."""
    from hydra.core.hydra_config import HydraConfig

    config = schema.check_options(cfg, CompareOptions, "columns", "published")
    config["runs"] = [config["runs"]] if isinstance(config["runs"], str) else config["runs"]
    if not config["runs"] and config["filter"] is None:
        raise UserError(
            "runs=[]: expected at least one run; type folders of runs, runs=sweep:NAME, or filter=\"tags.data = 'folder'\""
        )
    from sr.comparison.comparing import run_comparison

    choices = {group: choice for group, choice in HydraConfig.get().runtime.choices.items() if choice is not None}
    run_comparison(config, choices, cli.read_overrides())


if __name__ == "__main__":
    main()
