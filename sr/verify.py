"""`python -m sr.verify`: does this machine measure what the field measures?"""

import sys

from omegaconf import DictConfig

from sr.config import cli, schema
from sr.runtime.error import UserError


def main() -> None:
    """The console script `sr-verify`."""
    cli.run_command("verify", verify)


def verify(cfg: DictConfig) -> None:
    """Print ours beside reference and published, write `out`; exit code 1 when a row fails."""
    schema.check_lists(cfg, "sets", "scales", "protocols")
    for key in ("sets", "scales", "protocols"):
        if not cfg[key]:
            raise UserError(f"{key}=[]: expected one at least")
    from sr.evaluation.verification import Verification  # torch: only now, when the config is right

    if not Verification(**schema.to_plain(cfg)).passes():
        sys.exit(1)


if __name__ == "__main__":
    main()
