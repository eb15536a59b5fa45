"""The life of a run: its folder, its tags, and a status that is true however it ends."""

import contextlib
import getpass
import json
import math
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from sr.error import UserError
from sr.track import provenance
from sr.track.none import Nothing

_CHOICES = {"model": "model", "net": "model/net", "data": "data", "experiment": "experiment"}


def make_folder(runs: str, title: str) -> Path:
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


class Begun:
    """What a verb knows of its run before it is opened: what was chosen, and what was typed."""

    def __init__(self, verb: str, config: dict[str, Any], choices: dict[str, str], typed: list[str]) -> None:
        self.verb, self.config, self.choices, self.typed = verb, config, choices, typed

    def open(
        self, track: Nothing, folder: Path, protocol: str, more: dict[str, str], resumed: Path | None = None
    ) -> None:
        """Open the run in the tracker, with its tags (`more` adds to them) and all that tells where it comes from.
        `resumed` is the folder of a run that goes on: the same one, in which all this stands already.
        """
        title = f"{folder.name.partition('_')[2]} s{self.config['seed']} {datetime.now():%H%M}"
        track.start(title, folder, self.config, self.typed, self._tags(protocol) | more)
        for name, text in provenance.texts(self.verb, self.config, self.typed).items():
            if text:
                keep(track, folder, name, text)

    def _tags(self, protocol: str) -> dict[str, str]:
        c, config = self.choices, self.config
        tags = {f"sr.{key}": c[choice] for key, choice in _CHOICES.items() if c.get(choice)}
        tags |= {f"sr.{key}": str(config[key]) for key in ("scale", "color", "seed")}
        tags |= {"sr.protocol": protocol, "sr.verb": self.verb}
        tags |= {"mlflow.source.name": f"sr.{self.verb}", "mlflow.source.type": "LOCAL"}
        git = provenance.git()
        if git:
            tags |= {"mlflow.source.git.commit": git["sha"], "mlflow.source.git.branch": git["branch"]}
            tags["sr.git.dirty"] = git["dirty"]
        with contextlib.suppress(OSError, KeyError):  # a container may have no name for its user
            tags["mlflow.user"] = getpass.getuser()
        return tags


@contextlib.contextmanager
def closing(close: Callable[[str], None]) -> Iterator[None]:
    """Call `close` with FINISHED, FAILED or KILLED when the block ends, and let nothing interrupt that."""
    status = "FAILED"
    try:
        with _sigterm_as_interrupt():
            yield
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):  # Lightning turns Ctrl-C into an exit
        status = "KILLED"
        raise KeyboardInterrupt from None
    finally:
        with _deaf():
            close(status)


def keep(track: Nothing, folder: Path, name: str, text: str) -> None:
    """A text in the run's folder, whole or not at all, and in the tracker; track=none has only the folder."""
    part = folder / f"{name}.part"
    part.write_text(text, encoding="utf-8")
    part.replace(folder / name)
    track.text(name, text)


def as_json(node: Any) -> str:
    """JSON knows no infinity: such a value becomes the word inf, -inf or nan."""

    def plain(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: plain(part) for key, part in node.items()}
        return str(node) if isinstance(node, float) and not math.isfinite(node) else node

    return json.dumps(plain(node), indent=2, ensure_ascii=False)


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """Another Ctrl-C must not interrupt the writing down of the first."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """A polite kill ends like Ctrl-C: saved, marked KILLED."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt), signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])
