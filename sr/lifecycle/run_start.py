"""How a run begins: its folder and its tags; and what is done about those that ended without a word."""

import contextlib
import getpass
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from sr.lifecycle.provenance import DIALS, choose_path, collect_files
from sr.record import git as code
from sr.record.identity import write_atomic
from sr.runtime.error import UserError
from sr.track.tracker import Tracker

REPRODUCES = "SR_REPRODUCES"  # the variable by which sr.reproduce tells the run that it starts whose repetition it is
CPU = torch.device("cpu")
_CHOICES = {"model": "model", "net": "model/net", "data": "data", "experiment": "experiment"}


def create_run_folder(runs: str, title: str) -> Path:
    """A new folder `runs/DATE-TIME_title`, never one that is there already."""
    stem = Path(runs).resolve() / f"{datetime.now():%Y%m%d-%H%M%S}_{title}"
    for attempt in range(1000):
        folder = stem if not attempt else stem.with_name(f"{stem.name}-{attempt + 1}")
        try:
            folder.mkdir(parents=True)
            return folder
        except OSError as error:
            if not (isinstance(error, FileExistsError) and folder.is_dir()):
                reason = error.strerror or error
                raise UserError(f"paths.runs={runs}: cannot make a folder for this run ({reason})") from None
    raise UserError(f"paths.runs={runs}: a thousand runs of this second are there already")


class RunStart:
    """What a verb knows of its run before it is opened: what was chosen, and what was typed."""

    def __init__(self, verb: str, config: dict[str, Any], choices: dict[str, str], typed: list[str]) -> None:
        self.verb, self.config, self.choices, self.typed = verb, config, choices, typed

    def open(
        self, tracker: Tracker, folder: Path, protocol: str, more: dict[str, str], device: torch.device = CPU
    ) -> None:
        """Open the run in the tracker, with its tags (`more` adds to them) and all that tells where it comes from."""
        title = f"{folder.name.partition('_')[2]} s{self.config['seed']} {datetime.now():%H%M}"
        tracker.start(title, folder, self.config, self.typed, self._tags(protocol) | more)
        for name, content in collect_files(self.verb, self.config, self.choices, self.typed, device).items():
            path = choose_path(folder, name)
            write_atomic(path, content.decode()) if name in DIALS else path.write_bytes(content)
            tracker.log_file(path)

    def _tags(self, protocol: str) -> dict[str, str]:
        c, config = self.choices, self.config
        tags = {f"sr.{key}": c[choice] for key, choice in _CHOICES.items() if c.get(choice)}
        tags |= {f"sr.{key}": str(config[key]) for key in ("scale", "color", "seed")}
        tags |= {"sr.protocol": protocol, "sr.verb": self.verb}
        if os.environ.get(REPRODUCES):
            tags["sr.reproduces"] = os.environ[REPRODUCES]
        tags |= {"mlflow.source.name": f"sr.{self.verb}", "mlflow.source.type": "LOCAL"}
        git = code.read_state(code.find_checkout())
        if git:
            tags |= {"mlflow.source.git.commit": git["sha"], "mlflow.source.git.branch": git["branch"]}
            tags["sr.git.dirty"] = git["dirty"]
        with contextlib.suppress(OSError, KeyError):  # a container may have no name for its user
            tags["mlflow.user"] = getpass.getuser()
        return tags


def save_text(tracker: Tracker, folder: Path, name: str, text: str) -> None:
    """A text in the run's folder, whole or not at all, and in the tracker; track=none has only the folder."""
    tracker.log_text(name, text)
    path = folder / name
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_atomic(path, text)
