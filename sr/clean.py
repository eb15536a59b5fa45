"""`python -m sr.clean`: list what is left over and may be removed; remove it with apply=true."""

from pathlib import Path

from omegaconf import DictConfig

from sr.config import cli, schema
from sr.config.options import CleanOptions


def main() -> None:
    """Run the console script `sr-clean`."""
    cli.run_command("clean", clean)


def clean(cfg: DictConfig) -> None:
    """List the leftovers, or remove them."""
    config = schema.check_options(cfg, CleanOptions, "what")
    from sr.track import cleanup  # imports torch, only once the config is right

    for kind in config["what"]:
        schema.check_choice("what", kind, cleanup.KINDS)
    folders = (Path(config["paths"][name]) for name in ("runs", "cache"))
    cleanup.remove_leftovers(*folders, config["what"], config["days"], config["apply"])


if __name__ == "__main__":
    main()
