"""The sweep's end of the channels to its trials: `sr.record.trial` describes them."""

import contextlib
import shutil
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from sr.record.identity import write_atomic
from sr.record.trial import ANSWERS_FILE, HEARTBEAT_FILE, INTERRUPT, MESSAGES_FILE, PRUNE, LineFile

CHANNELS_FOLDER = "channels"
HEARTBEAT_SECONDS = 5.0


class Channel:
    """The channel to one start of a trial."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._messages, self._answers = LineFile(folder / MESSAGES_FILE), LineFile(folder / ANSWERS_FILE)

    @classmethod
    def create(cls, sweep: Path, number: int) -> Self:
        """Return a new channel for a trial."""
        channel = cls(sweep / CHANNELS_FOLDER / f"{number:03}-{uuid.uuid4().hex[:8]}")
        channel.folder.mkdir(parents=True)
        channel._messages.path.touch()  # both exist before they are looked for: NFS remembers what is missing
        channel._answers.path.touch()
        return channel

    @classmethod
    def list_existing(cls, sweep: Path) -> list[Self]:
        """Return the channels that a sweep has, and those that earlier processes of it have left, the oldest first."""
        folders = [folder for folder in (sweep / CHANNELS_FOLDER).glob("*-*") if folder.is_dir()]
        return [cls(folder) for folder in sorted(folders, key=lambda folder: folder.stat().st_mtime)]

    @property
    def number(self) -> int:
        """The number of the trial."""
        return int(self.folder.name.partition("-")[0])

    def receive(self) -> list[dict[str, Any]]:
        """Return the messages that have arrived; each with a value must be answered."""
        with contextlib.suppress(FileNotFoundError):
            return self._messages.read_new()
        return []

    def answer(self, prune: bool) -> None:
        """Let the trial go on, or end early."""
        self._answers.append(**{PRUNE: prune})

    def interrupt(self) -> None:
        """Let the trial end with a checkpoint."""
        self._answers.append(**{INTERRUPT: True})

    def remove(self) -> None:
        """Remove the channel: a trial that still has it ends with a checkpoint."""
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def send_heartbeats(sweep: Path) -> Iterator[None]:
    """Show the trials during the context that the sweep lives."""
    folder = sweep / CHANNELS_FOLDER
    folder.mkdir(exist_ok=True)
    has_ended = threading.Event()

    def write_heartbeats() -> None:
        while True:
            with contextlib.suppress(OSError):  # a full disk: the next one may succeed
                write_atomic(folder / HEARTBEAT_FILE, uuid.uuid4().hex, sync=False)
            if has_ended.wait(HEARTBEAT_SECONDS):
                return

    thread = threading.Thread(target=write_heartbeats, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        has_ended.set()
        thread.join()
