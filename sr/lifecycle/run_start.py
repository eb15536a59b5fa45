"""Open a run: its folder, its tags, and the files that say where it comes from."""

import contextlib
import getpass
import os
from pathlib import Path
from typing import Any

import torch

from sr.config.changed_options import list_changed_options, name_group
from sr.lifecycle.provenance import choose_path, collect_files, list_config_dirs
from sr.record import git
from sr.record.hyperparameters import select_hyperparameters
from sr.record.identity import lock_run
from sr.record.run_file import write_atomic
from sr.record.run_folder import collect_options, create_run_folder
from sr.record.run_name import format_run_name
from sr.record.trial import list_trial_tags
from sr.track.tracker import Tracker

REPRODUCES = "SR_REPRODUCES"  # the environment variable in which sr.reproduce names the run that is repeated
CPU = torch.device("cpu")
_GROUP_TAGS = {"model": "model", "net": "model/net", "data": "data", "experiment": "experiment"}  # tag -> config group


class RunStart:
    """The config of a run with the choices of its groups and the typed overrides, from which the run is opened.

    `name` is what lists of runs show; None: what distinguishes this run from others (`format_run_name`).
    """

    def __init__(
        self,
        command: str,
        config: dict[str, Any],
        choices: dict[str, str],
        overrides: list[str],
        name: str | None = None,
    ) -> None:
        self.command, self.config, self.choices, self.overrides = command, config, choices, overrides
        self.changed = list_changed_options(choices, overrides, [Path(folder) for folder in list_config_dirs()])
        self.groups = {name_group(group): choice for group, choice in choices.items() if not group.startswith("hydra/")}
        self.name = name or format_run_name(config, self.groups, self.changed, list_changed_options({}, overrides))

    def create_folder(self) -> Path:
        """Create a new folder `DATE-TIME_NAME` with the files of the run's options, and return its path."""
        return create_run_folder(self.config["paths"]["runs"], self.name, self._collect_options())

    def store_options(self, folder: Path) -> None:
        """Write the options of a run that is resumed, so that a kill from now on does not lose those that have changed.

        Nothing is written while another process holds the run, which the tracker refuses to open then.
        """
        lock = lock_run(folder)
        if lock is not None:
            try:
                for name, content in self._collect_options().items():
                    write_atomic(folder / name, content)
            finally:
                lock.release()

    def open(
        self, tracker: Tracker, folder: Path, protocol: str, tags: dict[str, str], device: torch.device = CPU
    ) -> None:
        """Open the run in the tracker, and store the files of its provenance; `tags` adds to those of every run."""
        params = select_hyperparameters(self.config, self.groups, self.changed, tracker.params)
        tracker.start(self.name, folder, params, self.overrides, self._collect_tags(protocol) | tags)
        for name, content in collect_files(self.command, self.config, self.choices, self.overrides, device).items():
            path = choose_path(folder, name)
            write_atomic(path, content)
            tracker.log_file(path)

    def _collect_options(self) -> dict[str, bytes]:
        return collect_options(self.config, self.choices, self.overrides)

    def _collect_tags(self, protocol: str) -> dict[str, str]:
        config = self.config
        tags = {f"sr.{tag}": self.choices[group] for tag, group in _GROUP_TAGS.items() if self.choices.get(group)}
        tags |= {f"sr.{key}": str(config[key]) for key in ("scale", "color", "seed") if config[key] is not None}
        tags |= {"sr.protocol": protocol, "sr.verb": self.command}
        if os.environ.get(REPRODUCES):
            tags["sr.reproduces"] = os.environ[REPRODUCES]
        tags |= list_trial_tags()
        state = git.read_state(git.find_checkout())
        if state:
            tags |= {"sr.git.commit": state["sha"], "sr.git.branch": state["branch"], "sr.git.dirty": state["dirty"]}
        with contextlib.suppress(OSError, KeyError):  # a container may have no name for its user
            tags["sr.user"] = getpass.getuser()
        return tags


def save_text(tracker: Tracker, folder: Path, name: str, text: str) -> None:
    """Write a text file into the run's folder, whole or not at all, and to the tracker."""
    tracker.log_text(name, text)
    path = folder / name
    if not path.exists() or path.read_text(encoding="utf-8") != text:  # track=none writes no file
        write_atomic(path, text)
