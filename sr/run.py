"""`python -m sr.run`: compose -> build -> fit -> test -> one number back to a sweep."""

import os
import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from sr.config import cli, schema
from sr.config.allowlist import check_targets
from sr.config.command_line import list_config_dirs
from sr.config.diff import Change
from sr.record.identity import RUN_FILE
from sr.record.journal_format import JOURNAL_FILE
from sr.runtime.error import UserError
from sr.runtime.launch import launch_processes
from sr.training import config_changes
from sr.training.resume import expand_overrides, find_newest_checkpoint, read_past_run

INFO = "--info"  # Hydra has an option of this name as well: --info=config and its other words are still Hydra's


def main() -> None:
    """The console script `sr-run`."""
    words = sys.argv[1:]
    if INFO in words:
        cli.run_command("run", info, [word for word in words if word != INFO])
    else:
        cli.run_command("run", run, expand=expand_overrides)


def run(cfg: DictConfig) -> float | None:
    """Train and test what the config describes; returns the best watched value."""
    from hydra.core.hydra_config import HydraConfig

    chosen = dict(HydraConfig.get().runtime.choices)
    config = schema.resolve_config(cfg, chosen)
    typed = list(HydraConfig.get().overrides.task)
    changes = _goes_on(cfg, config, typed) if config["resume"] and Path(config["resume"]).is_dir() else []
    if changes is None:
        return None
    with launch_processes(schema.count_processes(config["trainer"]), [*list_config_dirs(sys.argv), *typed]):
        from sr.training.training import Training  # torch, lightning: only now, when the config is right

        return Training(config, chosen, typed, changes).run()


def _goes_on(cfg: DictConfig, config: dict[str, Any], typed: list[str]) -> list[Change] | None:
    """What differs from the run that goes on; None where there is nothing left for it to do."""
    folder = Path(config["resume"])
    check_targets(config, config["trust"], f"resume={folder}")
    from hydra.utils import get_object

    if (folder / RUN_FILE).exists() and not getattr(get_object(config["track"]["_target_"]), "is_tracking", True):
        raise UserError(f"resume={folder}: a tracked run cannot go on with track=none: type track=journal, or no track")
    if int(os.environ.get("LOCAL_RANK", "0")):  # the first process has asked all the rest
        return []
    changes = config_changes.find_changes(folder, cfg, config, typed)
    for change in changes:
        print(f"resume: {change}")
    if read_past_run(folder).status != "FINISHED":
        return changes
    from sr.pretrained.state_dict import read_weights  # torch

    file = find_newest_checkpoint(folder)
    step, steps = read_weights(file)["global_step"] if file else 0, config["trainer"]["max_steps"]
    if not changes or step >= steps > 0:
        print(
            f"resume={folder}: this run has finished, with {step} steps; for more of them: trainer.max_steps={2 * step}"
        )
        _send_what_is_left(folder, config["paths"]["runs"])
        return None
    return changes


def _send_what_is_left(folder: Path, runs: str) -> None:
    """Send the rest of a finished run that was killed while it waited for the tracking server."""
    from sr.track.sync import sync_runs

    if (folder / JOURNAL_FILE).exists():
        sync_runs([str(folder)], runs)


def info(cfg: DictConfig) -> None:
    """Print what the composed net is: its size, its work, how far it looks. Nothing is trained, no data are needed."""
    from hydra.core.hydra_config import HydraConfig

    config = schema.resolve_config(cfg, dict(HydraConfig.get().runtime.choices))
    from sr.inference.complexity import format_summary

    print(format_summary(_net(config["model"].get("net")), config["channels"]))


def _net(node: Any) -> Any:
    """The net alone; `sr.config.build`, which can build everything, needs Lightning and so three seconds more."""
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    if not isinstance(node, dict):
        raise UserError(f"model.net={node}: a net is chosen with a slash, as in model/net={node}")
    try:
        return instantiate(node, _convert_="all")
    except InstantiationException as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        raise UserError(f"model.net: {error.__cause__ or error}") from error


if __name__ == "__main__":
    sys.exit(main())
