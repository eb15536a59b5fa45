"""How a run ends: with a status that is true, and the reason in a few words. Ctrl-C and SIGTERM end it well."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator

from pytorch_lightning import Callback

from sr.error import DiskError
from sr.model.enlarge import out_of_memory
from sr.model.guard import ExplodedError
from sr.track.identity import FAILED, FINISHED, KILLED

ECHO = 0.5  # seconds in which a second signal is the first one again, sent to a process and its parent
REASON_LENGTH = 200  # characters


class _Signals:
    """Ctrl-C and SIGTERM while a run lives: the first interrupts it, another one ends the process at once."""

    def __init__(self) -> None:
        self.first: int | None = None
        self.at = 0.0
        self.closing = False

    def __call__(self, signum: int, frame: object) -> None:
        if self.first is None:
            self.first, self.at = signum, time.monotonic()
            signal.signal(signal.SIGINT, self)
            if not self.closing:
                raise KeyboardInterrupt
            print("\nthe run is being written down; Ctrl-C once more ends at once", file=sys.stderr)
        elif time.monotonic() - self.at > ECHO:
            os._exit(128 + signum)

    @property
    def why(self) -> str:
        return "preempted (SIGTERM)" if self.first == signal.SIGTERM else "interrupted"


_signals: list[_Signals] = []  # of the runs that are alive in this process: one, at most


class Listening(Callback):
    """The first to hear of an interruption: Lightning turns a deaf ear to Ctrl-C after the first one."""

    def on_exception(self, *_: object) -> None:
        _listen()


def _listen() -> None:
    for heard in _signals:
        signal.signal(signal.SIGINT, heard)


@contextlib.contextmanager
def closing(close: Callable[[str, str | None], None]) -> Iterator[None]:
    """Call `close` with how the block ended, FINISHED, FAILED or KILLED, and why it is not FINISHED."""
    status, why = FAILED, None
    with _heard() as heard:
        try:
            yield
            status = FINISHED
        except (KeyboardInterrupt, SystemExit):  # Lightning turns Ctrl-C into an exit
            status, why = KILLED, heard.why
            raise KeyboardInterrupt from None
        except BaseException as error:
            why = _reason(error)
            raise
        finally:
            heard.closing = True
            _listen()
            close(status, why)


def _reason(error: BaseException) -> str:
    """In few words, for a tag by which runs can be found."""
    kinds = {ExplodedError: "NaN or explosion", DiskError: "disk", MemoryError: "out of memory"}
    named = next((words for kind, words in kinds.items() if isinstance(error, kind)), None)
    if named is None and any(isinstance(e, RuntimeError) and out_of_memory(e) for e in (error, error.__cause__)):
        return "out of memory"
    text = str(error).splitlines()
    return named or f"{type(error).__name__}: {text[0] if text else ''}"[:REASON_LENGTH]


@contextlib.contextmanager
def _heard() -> Iterator[_Signals]:
    heard = _Signals()
    if threading.current_thread() is not threading.main_thread():
        yield heard
        return
    before = {number: signal.signal(number, heard) for number in (signal.SIGINT, signal.SIGTERM)}
    _signals.append(heard)
    try:
        yield heard
    finally:
        _signals.remove(heard)
        for number, handler in before.items():
            signal.signal(number, handler)
