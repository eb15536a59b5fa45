"""`python -m sr.sync`: send to the tracking server what it has not received of runs."""

import sys
from pathlib import Path

from omegaconf import DictConfig

from sr.config import cli, schema
from sr.config.command_line import format_value
from sr.config.options import SyncOptions


def main() -> None:
    """Run the console script `sr-sync`; words that are no `key=value` name folders."""
    words = sys.argv[1:]
    folders = [word for word in words if not word.startswith("-") and ("=" not in word or Path(word).is_dir())]
    rest = [word for word in words if word not in folders]
    override = [f"folders={format_value(folders)}"] if folders else []
    cli.run_command("sync", sync, [*rest, *override])


def sync(cfg: DictConfig) -> None:
    """Send each run and report it; exit with code 1 if one was not sent."""
    config = schema.check_options(cfg, SyncOptions, "folders")
    from sr.track.sync import sync_runs  # slow imports, only once the config is right

    if not sync_runs(config["folders"], config["paths"]["runs"], config["uri"]):
        sys.exit(1)


if __name__ == "__main__":
    main()
