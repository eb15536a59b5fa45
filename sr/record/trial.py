"""A run that is a trial of a sweep: the variables of its environment, and its channel to the process that sweeps.

The channel is a folder in the sweep's folder, which all machines of the sweep share. The run appends its messages to one
file there, a line of JSON each: its folder, and the value of each validation. The sweep appends an answer to every value
to another one: go on, or end early because other trials are better.

The run is interrupted, with a checkpoint, if the sweep asks for it, or does not live any longer: its heartbeat has stopped,
the process that started this one has ended, or the folder has been removed because another process continues the sweep.
"""

import _thread
import json
import multiprocessing
import os
import threading
import time
from pathlib import Path
from typing import Any, Self

from sr.runtime.signals import signals

NAME_VARIABLE, NUMBER_VARIABLE, CHANNEL_VARIABLE = "SR_SWEEP", "SR_TRIAL", "SR_SWEEP_CHANNEL"
SUMMARY_COMMAND = "sweep"  # of the run that sums up a sweep, where other runs have `run` or `evaluate`
MESSAGES_FILE, ANSWERS_FILE = "messages.jsonl", "answers.jsonl"
HEARTBEAT_FILE = "heartbeat"  # in the folder that holds those of the channels
PRUNE, INTERRUPT = "prune", "interrupt"  # keys of an answer
ANSWER_SECONDS = 0.02  # between two looks for an answer, which is waited for
WATCH_SECONDS = 0.5
MAX_SILENCE = 60.0  # seconds without a heartbeat; a shared file system may show it late


def list_trial_tags() -> dict[str, str]:
    """Return the tags that tie the runs of a sweep together; none if this run belongs to no sweep."""
    tags = {"sr.sweep": os.environ.get(NAME_VARIABLE), "sr.trial": os.environ.get(NUMBER_VARIABLE)}
    return {tag: value for tag, value in tags.items() if value is not None}


class LineFile:
    """A file of JSON lines that one process appends to and another one reads, maybe on another machine."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._position = 0  # in bytes, of the first line that has not been read

    def append(self, **message: Any) -> None:
        """Append one line."""
        with self.path.open("ab") as file:
            file.write(json.dumps(message).encode() + b"\n")

    def read_new(self) -> list[dict[str, Any]]:
        """Return the lines that have been added since the last call. Raise `OSError` if the file is missing."""
        with self.path.open("rb") as file:  # opened each time: NFS shows what others have written then
            file.seek(self._position)
            block = file.read()
        whole = block[: block.rfind(b"\n") + 1]  # the last line may be half written
        self._position += len(whole)
        return [json.loads(line) for line in whole.splitlines()]


class TrialChannel:
    """The run's end of the channel."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._messages, self._answers = LineFile(folder / MESSAGES_FILE), LineFile(folder / ANSWERS_FILE)

    @classmethod
    def open(cls) -> Self | None:
        """Return the channel to the sweep that started this process, and watch it; None if none did."""
        folder = os.environ.pop(CHANNEL_VARIABLE, None)  # processes that this one starts have no channel
        if folder is None:
            return None
        channel = cls(Path(folder))
        threading.Thread(target=channel.watch, name="sweep", daemon=True).start()
        return channel

    def send(self, **message: Any) -> None:
        """Send one message."""
        if self.folder.exists():  # otherwise the sweep is over for this run, which is being interrupted
            self._messages.append(**message)

    def ask(self, **message: Any) -> bool:
        """Send one message, wait for the answer, and return whether the run has to end early."""
        self.send(**message)
        while signals.received is None:  # a signal ends the run after this step
            answers = self._answers.read_new() if self._answers.path.exists() else []
            for answer in answers:
                if PRUNE in answer:
                    return answer[PRUNE]
            time.sleep(ANSWER_SECONDS)
        return False

    def watch(self, max_silence: float = MAX_SILENCE) -> None:
        """Wait until the sweep asks this run to end, or has ended itself, and interrupt the main thread then."""
        parent = multiprocessing.parent_process()  # None if a command began this process
        answers = LineFile(self._answers.path)
        beat, last_change = self._read_heartbeat(), time.monotonic()
        while time.monotonic() - last_change < max_silence:
            if parent is not None and not parent.is_alive():
                break
            try:
                if any(INTERRUPT in answer for answer in answers.read_new()):
                    break
            except FileNotFoundError:
                break
            except OSError:  # the file system of another machine does not answer
                pass
            time.sleep(WATCH_SECONDS)
            new_beat = self._read_heartbeat()
            if new_beat != beat:
                beat, last_change = new_beat, time.monotonic()
        if signals.received is None:  # a second signal would end the run without a checkpoint
            _thread.interrupt_main()

    def _read_heartbeat(self) -> str:
        try:
            return (self.folder.parent / HEARTBEAT_FILE).read_text(encoding="ascii")
        except OSError:
            return ""
