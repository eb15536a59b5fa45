"""Read the config of a run, which somebody else may have written, before parts are built from it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from sr.config.allowlist import check_targets
from sr.config.renamed import update_config
from sr.record.run_folder import CONFIG_FILE
from sr.runtime.error import UserError

REQUIRED = {"data": ("_target_", "root", "test"), "metric": ("_target_",)}  # options that every run has stored


def read_config(folder: Path, trust: Sequence[str]) -> dict[str, Any]:
    """Return the config of a run, whose parts are all of sr or of a module in `trust`."""
    try:
        config = update_config(yaml.safe_load((folder / CONFIG_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{folder}: expected the options of the run in its {CONFIG_FILE} ({error})") from None
    if not isinstance(config, dict):
        raise UserError(
            f"{folder}: expected the options of the run in its {CONFIG_FILE} (found {type(config).__name__})"
        )
    for key, names in REQUIRED.items():
        missing = [name for name in names if name not in (config.get(key) or {})]
        if missing:
            raise UserError(f"{folder}: expected all options of {key} in its {CONFIG_FILE} (found no {missing[0]})")
    for key in ("data", "metric", "model"):
        check_targets(config.get(key) or {}, trust, str(folder), key)
    return config
