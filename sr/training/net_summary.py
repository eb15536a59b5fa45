"""`python -m sr.run --info`: print the size of a net without data and training."""

from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from sr.inference.complexity import format_summary
from sr.runtime.error import UserError


def print_net_summary(config: dict[str, Any]) -> None:
    """Print parameters, multiply-adds and receptive field of the net of a resolved config."""
    print(format_summary(_build_net(config["model"].get("net")), config["channels"]))


def _build_net(node: Any) -> Any:
    """Build the net alone; `sr.config.build`, which can build all parts, imports Lightning, and needs 3 s for that."""
    if not isinstance(node, dict):
        raise UserError(f"model.net={node}: a net is chosen with a slash: model/net={node}")
    try:
        return instantiate(node, _convert_="all")
    except InstantiationException as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        raise UserError(f"model.net: {error.__cause__ or error}") from error
