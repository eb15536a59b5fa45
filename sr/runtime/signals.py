"""Ctrl-C (SIGINT) and SIGTERM during a run.

The first signal interrupts the run, or is deferred to the end of the training step: a state from the middle of a step
could not be resumed exactly. A second signal ends the process at once, whatever it does.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM)
ECHO_SECONDS = 0.5  # a second signal within this time is the first one again, sent to a process and to its parent
DEFERRED_MESSAGE = b"\nthe run ends after this step, with a checkpoint; a second signal ends it at once\n"
CLOSING_MESSAGE = b"\nthe run is ending and writes its results; a second signal ends it at once\n"


class SignalHandler:
    """The handler of both signals for the one run that this process trains."""

    def __init__(self) -> None:
        self.received: int | None = None  # the first signal
        self.is_deferring = False  # the first signal waits for `raise_if_requested`
        self.is_closing = False  # the run is ending already: the first signal changes nothing
        self._received_at = 0.0  # time.monotonic()
        self._is_active = False  # inside `handle`, in the main thread

    @contextlib.contextmanager
    def handle(self) -> Iterator[None]:
        """Handle signals for the duration of one run. Do nothing outside the main thread, which alone receives them."""
        self.received, self.is_deferring, self.is_closing = None, False, False
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

    def defer(self) -> None:
        """Only note the first signal from now on, until `raise_if_requested` or `stop_deferring`."""
        self.install_handlers()
        self.is_deferring = self._is_active

    @property
    def is_requested(self) -> bool:
        """True if a deferred signal asks the run to end."""
        return self.is_deferring and self.received is not None

    def raise_if_requested(self) -> None:
        """Raise `KeyboardInterrupt` if a deferred signal has been received."""
        if self.is_requested:
            self.stop_deferring()

    def stop_deferring(self) -> None:
        """Let the next signal interrupt at once; raise `KeyboardInterrupt` if one has been received meanwhile."""
        was_deferring, self.is_deferring = self.is_deferring, False
        if was_deferring and self.received is not None:
            raise KeyboardInterrupt

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


def ignore_signals(*_: object) -> None:
    """Make a data loader's worker process ignore signals, except SIGTERM from its parent.

    A terminal's Ctrl-C and SLURM's SIGTERM reach every process of a run, but the training process still needs its workers
    for the step that it finishes. It alone may end them: PyTorch ends a stuck worker with SIGTERM, and would wait forever
    for a process that ignores it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # the only way to learn a signal's sender; macOS and Windows lack it
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_exit_on_sigterm_of_parent, daemon=True).start()


def _exit_on_sigterm_of_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
