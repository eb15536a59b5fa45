"""Check a run that is to be resumed, before torch is imported: may it continue with this config, and is there work left?"""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from sr.config.allowlist import check_targets
from sr.config.diff import Change
from sr.config.execution import restore_execution
from sr.record.identity import FINISHED, RUN_FILE
from sr.record.journal_format import JOURNAL_FILE
from sr.runtime.error import UserError
from sr.runtime.launch import find_rank
from sr.training.config_changes import find_changes, list_new_keys, read_stored_config
from sr.training.resume import find_newest_checkpoint, read_past_run


def check_resumed_run(cfg: DictConfig, config: dict[str, Any], overrides: list[str]) -> list[Change] | None:
    """Return the options in which the resumed run differs from before; None if it has finished and nothing is left to do.

    `cfg` is the composed config and `config` the resolved one, whose `resume` is a run's folder. What `perf=` chose for
    that run is put into `config`.
    """
    folder = Path(config["resume"])
    check_targets(config, config["trust"], f"resume={folder}")
    if (folder / RUN_FILE).exists() and config["track"]["_target_"].startswith("sr.track.none."):
        raise UserError(
            f"resume={folder}: a tracked run cannot be resumed with track=none; type track=journal, or no track"
        )
    restore_execution(config, read_stored_config(str(folder)), list_new_keys(folder, overrides))
    is_first, is_finished = not find_rank(), read_past_run(folder).status == FINISHED
    if not is_first and not is_finished:  # the first process checks all the rest, and may have opened the run already
        return []
    changes = find_changes(folder, cfg, config, overrides)
    for change in changes if is_first else ():
        print(f"resume: {change}")
    step = _find_final_step(folder) if is_finished else 0
    if not is_finished or (changes and not step >= config["trainer"]["max_steps"] > 0):
        return changes
    if is_first:
        print(
            f"resume={folder}: this run has finished, with {step} steps; to train longer: trainer.max_steps={2 * step}"
        )
        _send_unsent_entries(folder, config["paths"]["runs"])
    return None


def _find_final_step(folder: Path) -> int:
    """Return the step of the newest checkpoint, 0 without one."""
    from sr.pretrained.state_dict import read_weights  # imports torch

    checkpoint = find_newest_checkpoint(folder)
    return read_weights(checkpoint)["global_step"] if checkpoint else 0


def _send_unsent_entries(folder: Path, runs: str) -> None:
    """Send what the tracker has not received yet: a run that was killed while it waited for that has finished training."""
    from sr.track.sync import sync_runs  # imported late: it takes seconds

    if (folder / JOURNAL_FILE).exists():
        sync_runs([str(folder)], runs)
