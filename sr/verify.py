"""`python -m sr.verify`: check that this machine gives the field's numbers for the bicubic baseline."""

import sys

from omegaconf import DictConfig

from sr.config import cli, schema
from sr.config.options import VerifyOptions
from sr.runtime.error import UserError


def main() -> None:
    """Run the console script `sr-verify`."""
    cli.run_command("verify", verify)


def verify(cfg: DictConfig) -> None:
    """Print measured, reference and published values, and write the report; exit with 1 if a row fails."""
    config = schema.check_options(cfg, VerifyOptions, "sets", "scales", "protocols")
    for key in ("sets", "scales", "protocols"):
        if not config[key]:
            raise UserError(f"{key}=[]: expected at least one")
    from sr.evaluation.verification import Verification  # imports torch: only now, when the config is right

    if not Verification(**config).execute():
        sys.exit(1)


if __name__ == "__main__":
    main()
