"""Ctrl-C and SIGTERM while a run lives. The first one interrupts it, or waits for the end of a step: what is kept in the
middle of one could not be resumed exactly. Another one ends the process at once, whatever it does.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM)
ECHO = 0.5  # seconds in which a second signal is the first one again, sent to a process and its parent
PATIENT = b"\nit ends after this step, with a checkpoint; once more: at once\n"
CLOSING = b"\nthe run is being written down; once more: at once\n"


class Signals:
    """Of the run that is alive in this process: one, at most."""

    def __init__(self) -> None:
        self.first: int | None = None  # the signal that asked it to end
        self.waits = False  # for `obey`
        self.closing = False  # it ends already
        self._at = 0.0
        self._heard = False  # by us, not by whoever hears signals where no run lives

    @contextlib.contextmanager
    def handle(self) -> Iterator[None]:
        """Of one run, from its beginning to its end. Signals come to the main thread alone: elsewhere they are not ours."""
        self.first, self.waits, self.closing = None, False, False
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self) for number in SIGNALS}
        self._heard = True
        try:
            yield
        finally:
            self._heard = False
            for number, handler in before.items():
                signal.signal(number, handler)

    def install_handlers(self) -> None:
        """Again: Lightning puts handlers of its own in place, and is deaf to Ctrl-C after the first one."""
        if self._heard:
            for number in SIGNALS:
                signal.signal(number, self)

    def defer(self) -> None:
        """From here on the first signal is only noted, until `obey`."""
        self.install_handlers()
        self.waits = self._heard

    @property
    def is_requested(self) -> bool:
        """Whether there is something to obey."""
        return self.waits and self.first is not None

    def raise_if_requested(self) -> None:
        """End the run if that was asked."""
        if self.is_requested:
            self.stop_deferring()

    def stop_deferring(self) -> None:
        """Also ends a run that was asked to."""
        waited, self.waits = self.waits, False
        if waited and self.first is not None:
            raise KeyboardInterrupt

    def __call__(self, number: int, frame: object) -> None:
        if self.first is not None:
            if time.monotonic() - self._at > ECHO:
                os._exit(128 + number)
            return
        self.first, self._at = number, time.monotonic()
        if not self.waits and not self.closing:
            raise KeyboardInterrupt
        os.write(2, CLOSING if self.closing else PATIENT)  # `print` could be what was interrupted


signals = Signals()


def ignore_signals(*_: object) -> None:
    """For a process that loads: a terminal's Ctrl-C and SLURM's SIGTERM come to every process of a run, and the one that
    trains still needs its loaders for the step that it ends with. That one alone may end them: where one of them is stuck,
    PyTorch does so with SIGTERM, and would wait for ever for a process that ignores it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # the one way to know who has sent a signal; macOS and Windows have none
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_heed_the_parent, daemon=True).start()


def _heed_the_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
