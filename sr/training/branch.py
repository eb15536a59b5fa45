"""A new run that begins with a checkpoint of another one: `resume=FILE.ckpt`."""

from pathlib import Path
from typing import Any

from sr.checkpoint.load import KEY, rename_option
from sr.config.diff import Change, find_differences, format_value, is_under
from sr.config.renamed import update_config
from sr.pretrained.state_dict import read_weights
from sr.runtime.error import UserError

CHANGEABLE_OPTIONS = ("model.alarm",)  # alarms report, and have no influence on the training


def find_checkpoint(config: dict[str, Any]) -> Path | None:
    """Return the checkpoint that a new run continues from; raise unless it is of the same model and fewer steps."""
    resume, max_steps = config["resume"], config["trainer"]["max_steps"]
    if resume is None:
        return None
    path = Path(resume).expanduser()
    if not path.is_file():
        raise UserError(f"resume={resume}: expected a run's folder or id, or a checkpoint")
    with rename_option("resume", path):
        content = read_weights(path)
    if KEY not in content:
        raise UserError(f"resume={resume}: expected a checkpoint of sr.run (found only weights, or another format)")
    try:
        before, step = update_config(content[KEY]["config"])["model"], int(content["global_step"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"resume={resume}: not written by sr, or damaged ({error!r})") from None
    changes = find_differences({"model": before}, {"model": config["model"]})
    changes = [change for change in changes if not is_under(change.key, CHANGEABLE_OPTIONS)]
    if changes:
        raise UserError(f"resume={resume}: expected the options that it was trained with ({_format_changes(changes)})")
    if step >= max_steps > 0:
        raise UserError(
            f"resume={resume}: expected a checkpoint before trainer.max_steps={max_steps} (found step {step})"
        )
    return path.resolve()


def _format_changes(changes: list[Change]) -> str:
    return ", ".join(f"{c.key}={format_value(c.before)}, not {format_value(c.after)}" for c in changes)
