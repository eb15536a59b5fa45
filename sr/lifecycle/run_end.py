"""Close a run with its true status and the reason in a few words, also after Ctrl-C and SIGTERM."""

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from sr.inference.memory import is_out_of_memory
from sr.model.error import ExplodedError
from sr.record.identity import FAILED, FINISHED, KILLED
from sr.runtime.error import DiskError, UserError
from sr.runtime.signals import signals
from sr.track.tracker import Tracker

MAX_REASON_LENGTH = 200  # characters


@contextlib.contextmanager
def close_on_exit(close: Callable[[str, str | None], None]) -> Iterator[None]:
    """Call `close` with the status in which the block ended, and the reason if it is not FINISHED.

    A block that raises is FAILED. One that was interrupted is KILLED, whatever error the interruption led to.
    """
    status, reason = FAILED, None
    with signals.handle():
        try:
            yield
            status = FINISHED
        except BaseException as error:
            if signals.abort_reason:
                reason = signals.abort_reason
                raise UserError(reason) from None
            is_interrupt = isinstance(error, KeyboardInterrupt | SystemExit)  # Lightning turns Ctrl-C into an exit
            if not is_interrupt and signals.received is None:
                reason = _describe_reason(error)
                raise
            if not is_interrupt:
                print(f"\n{error if isinstance(error, UserError) else _describe_reason(error)}", file=sys.stderr)
            is_preempted = signals.received not in (None, signal.SIGINT)
            reason = f"preempted ({signal.Signals(signals.received).name})" if is_preempted else "interrupted"
            status = KILLED
            raise KeyboardInterrupt from None
        finally:
            signals.is_closing = True
            signals.install_handlers()
            close(status, reason)


@contextlib.contextmanager
def raise_disk_errors(folder: Path) -> Iterator[None]:
    """Turn an `OSError` of the block into a `DiskError` that names the file."""
    try:
        yield
    except OSError as error:
        raise DiskError(f"{error.filename or folder}: cannot be written ({error.strerror or error})") from error


def end_run(tracker: Tracker, folder: Path, status: str, reason: str | None, write_results: Callable[[], None]) -> None:
    """Write the results, and close the run in the tracker even if that fails, which makes a FINISHED run FAILED."""
    try:
        with raise_disk_errors(folder):
            write_results()
    except DiskError as error:
        if status == FINISHED:
            status, reason = FAILED, _describe_reason(error)
            raise
        print(f"\n{error}", file=sys.stderr)  # the error that ended the run is raised, and matters more
    finally:
        tracker.close(status, reason)


def _describe_reason(error: BaseException) -> str:
    """Return in a few words why a run failed, for a tag to find runs by."""
    reasons = {ExplodedError: "NaN or explosion", DiskError: "disk", MemoryError: "out of memory"}
    reason = next((words for kind, words in reasons.items() if isinstance(error, kind)), None)
    if reason is None and any(isinstance(e, RuntimeError) and is_out_of_memory(e) for e in (error, error.__cause__)):
        return "out of memory"
    lines = str(error).splitlines()
    return reason or f"{type(error).__name__}: {lines[0] if lines else ''}"[:MAX_REASON_LENGTH]
