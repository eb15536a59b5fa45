"""`python -m sr.run`: train a network, test it, and return one number to a sweep."""

import sys
from pathlib import Path

from hydra.types import RunMode
from omegaconf import DictConfig, open_dict

from sr.config import cli, schema
from sr.config.command_line import is_sweep, list_config_dirs
from sr.runtime import garbage
from sr.runtime.error import UserError
from sr.runtime.heartbeat import watch_processes
from sr.runtime.launch import launch_processes
from sr.track.sender_process import prepare_sender
from sr.training.config_changes import read_stored_config
from sr.training.resume import expand_overrides
from sr.training.resume_check import check_resumed_run

INFO_FLAG = "--info"  # Hydra has a flag of this name too: --info=config and other values are still Hydra's


def main() -> None:
    """Run the console script `sr-run`."""
    words = sys.argv[1:]
    if INFO_FLAG in words:
        cli.run_command("run", print_info, [word for word in words if word != INFO_FLAG])
    elif is_sweep(words):
        from sr.sweep.plan import run_sweep  # imports Optuna

        run_sweep(words)
    else:
        with watch_processes():
            cli.run_command("run", train, expand=expand_overrides)


def train(cfg: DictConfig) -> float | None:
    """Train and test what the config describes; return the best monitored value."""
    from hydra.core.hydra_config import HydraConfig

    choices = dict(HydraConfig.get().runtime.choices)
    _drop_sweep(cfg, choices)
    config = schema.resolve_config(cfg, choices, stored=read_stored_config(cfg.resume))
    overrides = cli.read_overrides()
    is_resumed = config["resume"] and Path(config["resume"]).is_dir()
    changes = check_resumed_run(cfg, config, overrides) if is_resumed else []
    if changes is None:
        return None
    devices, machines = schema.count_processes(config["trainer"]), config["trainer"].get("num_nodes", 1)
    with launch_processes(devices, [*list_config_dirs(sys.argv), *overrides], machines):
        prepare_sender(config["track"])
        with garbage.skip_imported():
            from sr.training.training import Training  # imports torch and Lightning: only now, when the config is right
        return Training(config, choices, overrides, changes).run()


def _drop_sweep(cfg: DictConfig, choices: dict[str, str]) -> None:
    """Remove the options of a sweep from the config of a single run; raise if the user typed some."""
    from hydra.core.hydra_config import HydraConfig

    typed = [word for word in HydraConfig.get().overrides.task if word.startswith(("sweep=", "sweep.", "sweep/"))]
    is_sweep_of_hydra = HydraConfig.get().mode == RunMode.MULTIRUN
    if typed and not is_sweep_of_hydra:
        raise UserError(f"{typed[0]}: a sweep needs -m: python -m sr.run -m {typed[0]} …")
    with open_dict(cfg):
        del cfg["sweep"]
    for group in [group for group in choices if group.startswith("sweep")]:
        del choices[group]


def print_info(cfg: DictConfig) -> None:
    """Print parameters, multiply-adds and receptive field of the composed net; no data are needed."""
    from hydra.core.hydra_config import HydraConfig

    config = schema.resolve_config(cfg, dict(HydraConfig.get().runtime.choices))
    from sr.training.net_summary import print_net_summary  # imports torch

    print_net_summary(config)


if __name__ == "__main__":
    sys.exit(main())
