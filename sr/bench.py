"""`python -m sr.bench`: what this framework costs, against a bare PyTorch loop."""

from omegaconf import DictConfig

from sr import schema, verb


def main() -> None:
    """The console script `sr-bench`."""
    verb.start("bench", bench)


def bench(cfg: DictConfig) -> None:
    """Print a table and write `out`, a list of rows: name, ours, rival, ratio, unit, rival_is."""
    from hydra.core.hydra_config import HydraConfig

    config = schema.complete(cfg, HydraConfig.get().runtime.choices)
    from sr.rival import Comparison  # torch, lightning: only now, when the config is right

    Comparison(config).report()


if __name__ == "__main__":
    main()
