"""`python -m sr.sync`: send to MLflow what it has not got of runs."""

import sys

from omegaconf import DictConfig

from sr.config import cli, schema


def main() -> None:
    """The console script `sr-sync`. Words that are no `key=value` name folders."""
    words = sys.argv[1:]
    folders = [word for word in words if "=" not in word and not word.startswith("-")]
    rest = [word for word in words if word not in folders]
    named = [f"folders=[{','.join(map(cli.quoted, folders))}]"] if folders else []
    cli.start("sync", sync, [*rest, *named])


def sync(cfg: DictConfig) -> None:
    """Send each, tell of each; exit code 1 when one was not sent."""
    schema.check_lists(cfg, "folders")
    from sr.track.sync import catch_up  # MLflow: only now, when the config is right

    config = schema.plain(cfg)
    if not catch_up(config["folders"], config["paths"]["runs"], config["uri"]):
        sys.exit(1)


if __name__ == "__main__":
    main()
