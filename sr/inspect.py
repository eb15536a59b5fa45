"""`python -m sr.inspect`: what would spoil a result, told before anything is trained."""

from omegaconf import DictConfig

from sr.config import cli, schema


def main() -> None:
    """The console script `sr-inspect`."""
    cli.run_command("inspect", inspect)


def inspect(cfg: DictConfig) -> None:
    """Print a report, write `out`; the exit code is 1 where something would spoil a result."""
    from hydra.core.hydra_config import HydraConfig

    config = schema.resolve_config(cfg, HydraConfig.get().runtime.choices)
    from sr.inspection import inspection  # torch: only now, when the config is right

    if inspection.inspect(config):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
