"""`python -m sr.run`: compose -> build -> fit -> test -> one number back to a sweep."""

import sys

from omegaconf import DictConfig

from sr import schema, verb


def main() -> None:
    """The console script `sr-run`."""
    verb.start("run", run)


def run(cfg: DictConfig) -> float | None:
    """Train and test what the config describes; returns the best watched value."""
    from hydra.core.hydra_config import HydraConfig

    chosen = dict(HydraConfig.get().runtime.choices)
    config = schema.complete(cfg, chosen)
    from sr.training import Training  # torch, lightning: only now, when the config is right

    return Training(config, chosen, list(HydraConfig.get().overrides.task)).go()


if __name__ == "__main__":
    sys.exit(main())
