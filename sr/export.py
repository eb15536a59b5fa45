"""`python -m sr.export`: write a network in another format, checked against PyTorch, with a model card."""

import sys

from omegaconf import DictConfig

from sr.checkpoint.interpolate import check_options
from sr.config import cli, schema
from sr.config.options import ExportOptions
from sr.runtime.error import UserError

DIFFERS = 3  # the exit code if the exported file does not compute what PyTorch computes


def main() -> None:
    """Run the console script `sr-export`."""
    cli.run_command("export", export)


def export(cfg: DictConfig) -> None:
    """Export the network of `checkpoint`; exit with 3 if the result differs from PyTorch, and write nothing then."""
    from hydra.core.hydra_config import HydraConfig

    schema.require_options(cfg, "checkpoint")
    choices = HydraConfig.get().runtime.choices
    config = schema.to_plain(cfg)
    schema.check_config(config, ExportOptions)
    check_options(config)
    if config["exporter"] is None:
        raise UserError("exporter=null: expected a format: exporter=onnx")
    from sr.exporter.export import export_network  # imports torch: only now, when the config is right
    from sr.exporter.verification import ExportError

    try:
        export_network(config, choices["exporter"])
    except ExportError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(DIFFERS)


if __name__ == "__main__":
    main()
