"""Ctrl-C (SIGINT), SIGTERM, and SLURM's SIGUSR1 shortly before the end of a job's time (`--signal`) during a run.

The first signal interrupts the run, or is deferred to the end of the training step: a state from the middle of a step
could not be resumed exactly. A second signal ends the process at once, whatever it does.

Several processes that train together end after the same step, with one checkpoint: each would wait for the others
forever otherwise. At every step they share whether one of them has received a signal (`share_request`).
"""

import _thread
import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
ECHO_SECONDS = 0.5  # a second signal within this time is the first one again, sent to a process and to its parent
DEFERRED_MESSAGE = b"\nthe run ends after this step, with a checkpoint; a second signal ends it at once\n"
CLOSING_MESSAGE = b"\nthe run is ending and writes its results; a second signal ends it at once\n"


class SignalHandler:
    """The handler of both signals for the one run that this process trains."""

    def __init__(self) -> None:
        self.received: int | None = None  # the first signal
        self.abort_reason: str | None = (
            None  # why this process cannot go on: another one that trains with it has failed
        )
        self.is_deferring = False  # the first signal waits for `raise_if_requested`
        self.is_closing = False  # the run is ending already: the first signal changes nothing
        self._is_shared = False  # several processes end together
        self._is_agreed = False  # one of them has received a signal, and all know it
        self._received_at = 0.0  # time.monotonic()
        self._is_active = False  # inside `handle`, in the main thread

    def reset(self) -> None:
        """Forget the run before this one."""
        self.received, self.abort_reason, self.is_deferring, self.is_closing = None, None, False, False
        self._is_shared = self._is_agreed = False

    @contextlib.contextmanager
    def handle(self) -> Iterator[None]:
        """Handle signals for the duration of one run. Do nothing outside the main thread, which alone receives them."""
        self.reset()
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        old_handlers = {number: signal.signal(number, self) for number in SIGNALS}
        self._is_active = True
        try:
            yield
        finally:
            self._is_active = False
            for number, handler in old_handlers.items():
                signal.signal(number, handler)

    def install_handlers(self) -> None:
        """Install this handler again: Lightning replaces it, and ignores Ctrl-C after the first one."""
        if self._is_active:
            for number in SIGNALS:
                signal.signal(number, self)

    def defer(self, is_shared: bool = False) -> None:
        """Only note the first signal from now on, until `raise_if_requested` or `stop_deferring`.

        With `is_shared`, a signal counts once all processes have called `share_request` with it.
        """
        self.install_handlers()
        self.is_deferring, self._is_shared = self._is_active, is_shared

    def share_request(self, is_any_requested: bool) -> None:
        """Let all processes end, this one too, if one of them has received a signal; all call it at the same step."""
        if is_any_requested and self._is_shared:
            self._is_agreed = True
            if self.received is None:  # its own signal may follow in a moment, and is not a second one
                self.received, self._received_at = signal.SIGINT, time.monotonic()

    @property
    def is_requested(self) -> bool:
        """True if a deferred signal asks the run to end."""
        return self.is_deferring and (self._is_agreed if self._is_shared else self.received is not None)

    @property
    def is_ending(self) -> bool:
        """True if a signal has been received that no longer waits for other processes."""
        return self.received is not None and (not self.is_deferring or self.is_requested)

    def raise_if_requested(self) -> None:
        """Raise `KeyboardInterrupt` if a deferred signal has been received."""
        if self.is_requested:
            self.stop_deferring()

    def stop_deferring(self) -> None:
        """Let the next signal interrupt at once; raise `KeyboardInterrupt` if one has been received meanwhile."""
        was_deferring, self.is_deferring = self.is_deferring, False
        if was_deferring and self.received is not None:
            raise KeyboardInterrupt

    def abort(self, reason: str) -> None:
        """Interrupt the main thread from another one: without the other processes a step in progress never ends."""
        self.abort_reason, self.received, self.is_deferring = reason, None, False
        _thread.interrupt_main()

    def __call__(self, number: int, frame: object) -> None:
        if self.received is not None:
            if time.monotonic() - self._received_at > ECHO_SECONDS:
                os._exit(128 + number)
            return
        self.received, self._received_at = number, time.monotonic()
        if not self.is_deferring and not self.is_closing:
            raise KeyboardInterrupt
        os.write(2, CLOSING_MESSAGE if self.is_closing else DEFERRED_MESSAGE)  # `print` is not reentrant


signals = SignalHandler()


@contextlib.contextmanager
def block_signals() -> Iterator[None]:
    """Defer both signals to the end of the block. A process that is started inside has them blocked: `unblock_signals`."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    old = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


def unblock_signals() -> None:
    """Let both signals through, for which this process has handlers now."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def ignore_signals(*_: object) -> None:
    """Make a data loader's worker process ignore signals, except SIGTERM from its parent.

    A terminal's Ctrl-C and SLURM's SIGTERM reach every process of a run, but the training process still needs its workers
    for the step that it finishes. It alone may end them: PyTorch ends a stuck worker with SIGTERM, and would wait forever
    for a process that ignores it.
    """
    for number in set(SIGNALS) - {signal.SIGTERM}:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # the only way to learn a signal's sender; macOS and Windows lack it
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_exit_on_sigterm_of_parent, daemon=True).start()


def _exit_on_sigterm_of_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
