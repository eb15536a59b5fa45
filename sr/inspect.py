"""`python -m sr.inspect`: find defects of the data that invalidate results, before anything is trained."""

from omegaconf import DictConfig

from sr.config import cli, schema
from sr.config.options import InspectOptions


def main() -> None:
    """Run the console script `sr-inspect`."""
    cli.run_command("inspect", inspect)


def inspect(cfg: DictConfig) -> None:
    """Print a report and write it to `out`; the exit code is 1 if a defect invalidates results."""
    from hydra.core.hydra_config import HydraConfig

    config = schema.resolve_config(cfg, HydraConfig.get().runtime.choices, InspectOptions)
    from sr.inspection import inspection  # imports torch: only when the config is valid

    if inspection.inspect(config):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
