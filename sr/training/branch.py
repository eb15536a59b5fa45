"""A new run that begins with a checkpoint of another: `resume=FILE.ckpt`."""

from pathlib import Path
from typing import Any

from sr.checkpoint.load import KEY
from sr.config.diff import find_differences
from sr.config.renamed import update_config
from sr.pretrained.state_dict import read_weights
from sr.runtime.error import UserError


def find_checkpoint(config: dict[str, Any]) -> Path | None:
    """The checkpoint that a new run begins with, which must be of this very model."""
    typed, steps = config["resume"], config["trainer"]["max_steps"]
    if typed is None:
        return None
    path = Path(typed).expanduser()
    if not path.is_file():
        raise UserError(f"resume={typed}: expected a run's folder or id, or a checkpoint")
    content = read_weights(path)
    if KEY not in content:
        raise UserError(f"resume={typed}: {path.name} holds weights only, or was not written by sr.run")
    there, here = ({"model": c["model"]} for c in (update_config(content[KEY]["config"]), config))
    changed = [f"{c.key}={c.after} (there {c.before})" for c in find_differences(there, here) if _lasts(c.key)]
    if changed:
        raise UserError(f"resume={typed}: was trained with other dials, say the same: {', '.join(changed)}")
    if content["global_step"] >= steps > 0:
        raise UserError(
            f"resume={typed}: is at step {content['global_step']} already; set trainer.max_steps above that"
        )
    return path.resolve()


def _lasts(key: str) -> bool:
    """Whether a dial of the model must stay as it was: alarms only tell."""
    return not key.startswith("model.alarm")
