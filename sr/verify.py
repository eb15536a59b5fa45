"""`python -m sr.verify`: check that this machine gives the field's numbers for the bicubic baseline."""

import sys

from omegaconf import DictConfig

from sr.config import cli, schema
from sr.runtime.error import UserError


def main() -> None:
    """Run the console script `sr-verify`."""
    cli.run_command("verify", verify)


def verify(cfg: DictConfig) -> None:
    """Print measured, reference and published values, and write the report; exit with 1 if a row fails."""
    schema.check_lists(cfg, "sets", "scales", "protocols")
    for key in ("sets", "scales", "protocols"):
        if not cfg[key]:
            raise UserError(f"{key}=[]: expected at least one")
    from sr.evaluation.verification import Verification  # imports torch: only now, when the config is right

    if not Verification(**schema.to_plain(cfg)).execute():
        sys.exit(1)


if __name__ == "__main__":
    main()
