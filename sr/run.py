"""`python -m sr.run`: compose -> build -> fit -> test -> one number back to a sweep."""

import sys
from typing import Any

from omegaconf import DictConfig

from sr import schema, verb
from sr.crew import crew
from sr.error import UserError

INFO = "--info"  # Hydra has an option of this name as well: --info=config and its other words are still Hydra's


def main() -> None:
    """The console script `sr-run`."""
    words = sys.argv[1:]
    if INFO in words:
        verb.start("run", info, [word for word in words if word != INFO])
    else:
        verb.start("run", run)


def run(cfg: DictConfig) -> float | None:
    """Train and test what the config describes; returns the best watched value."""
    from hydra.core.hydra_config import HydraConfig

    chosen = dict(HydraConfig.get().runtime.choices)
    config = schema.complete(cfg, chosen)
    typed = list(HydraConfig.get().overrides.task)
    with crew(schema.processes(config["trainer"]), [*verb.own_parts(sys.argv), *typed]):
        from sr.training import Training  # torch, lightning: only now, when the config is right

        return Training(config, chosen, typed).go()


def info(cfg: DictConfig) -> None:
    """Print what the composed net is: its size, its work, how far it looks. Nothing is trained, no data are needed."""
    from hydra.core.hydra_config import HydraConfig

    config = schema.complete(cfg, dict(HydraConfig.get().runtime.choices))
    from sr import cost

    print(cost.summary(_net(config["model"].get("net")), config["channels"]))


def _net(node: Any) -> Any:
    """The net alone; `sr.build`, which can build everything, needs Lightning and so three seconds more."""
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    if not isinstance(node, dict):
        raise UserError(f"model.net={node}: a net is chosen with a slash, as in model/net={node}")
    try:
        return instantiate(node, _convert_="all")
    except InstantiationException as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        raise UserError(f"model.net: {error.__cause__ or error}") from error


if __name__ == "__main__":
    sys.exit(main())
