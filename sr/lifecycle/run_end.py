"""How a run ends: with a status that is true, and the reason in a few words. Ctrl-C and SIGTERM end it well."""

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from sr.inference.memory import is_out_of_memory
from sr.model.guard import ExplodedError
from sr.record.identity import FAILED, FINISHED, KILLED
from sr.runtime.error import DiskError, UserError
from sr.runtime.signals import signals
from sr.track.tracker import Tracker

REASON_LENGTH = 200  # characters


@contextlib.contextmanager
def close_on_exit(close: Callable[[str, str | None], None]) -> Iterator[None]:
    """Call `close` with how the block ended, FINISHED, FAILED or KILLED, and why it is not FINISHED. A run that was asked to
    end is KILLED, whatever that has led to.
    """
    status, why = FAILED, None
    with signals.handle():
        try:
            yield
            status = FINISHED
        except BaseException as error:
            asked = isinstance(error, KeyboardInterrupt | SystemExit)  # Lightning turns Ctrl-C into an exit
            if not asked and signals.received is None:
                why = _reason(error)
                raise
            if not asked:
                print(f"\n{error if isinstance(error, UserError) else _reason(error)}", file=sys.stderr)
            status, why = KILLED, "preempted (SIGTERM)" if signals.received == signal.SIGTERM else "interrupted"
            raise KeyboardInterrupt from None
        finally:
            signals.is_closing = True
            signals.install_handlers()
            close(status, why)


@contextlib.contextmanager
def raise_disk_errors(folder: Path) -> Iterator[None]:
    """What cannot be written in the block is a `DiskError`."""
    try:
        yield
    except OSError as error:
        raise DiskError(f"{error.filename or folder}: cannot be written ({error.strerror or error})") from error


def end_run(tracker: Tracker, folder: Path, status: str, why: str | None, last: Callable[[], None]) -> None:
    """Write down what is `last`, and close the run in the tracker, whatever comes of that."""
    try:
        with raise_disk_errors(folder):
            last()
    except DiskError as error:
        if status == FINISHED:
            status, why = FAILED, _reason(error)
            raise
        print(f"\n{error}", file=sys.stderr)  # why it ended is told as well, and matters more
    finally:
        tracker.close(status, why)


def _reason(error: BaseException) -> str:
    """In few words, for a tag by which runs can be found."""
    kinds = {ExplodedError: "NaN or explosion", DiskError: "disk", MemoryError: "out of memory"}
    named = next((words for kind, words in kinds.items() if isinstance(error, kind)), None)
    if named is None and any(isinstance(e, RuntimeError) and is_out_of_memory(e) for e in (error, error.__cause__)):
        return "out of memory"
    text = str(error).splitlines()
    return named or f"{type(error).__name__}: {text[0] if text else ''}"[:REASON_LENGTH]
