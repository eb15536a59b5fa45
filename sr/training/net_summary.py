"""`python -m sr.run --info`: print the size of a net without data and training."""

from typing import Any

from sr.config.build import build_part
from sr.inference.complexity import format_summary


def print_net_summary(config: dict[str, Any]) -> None:
    """Print parameters, multiply-adds and receptive field of the net of a resolved config."""
    print(format_summary(build_part(config["model"].get("net"), "model.net"), config["channels"]))
