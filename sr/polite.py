"""Ctrl-C and SIGTERM that wait for the end of a step: what is kept in the middle of one could not be resumed exactly."""

import os
import signal
import threading
import time
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
ECHO = 0.5  # seconds in which a second signal is the first one again, sent to a process and its parent


class Polite:
    """Between `begin` and `end` the first signal is only noted, and passed on by `obey`; another one goes at once to who
    heard signals before.
    """

    def __init__(self) -> None:
        self.asked: int | None = None  # the signal
        self._at = 0.0
        self._before: dict[int, Any] = {}

    def begin(self) -> None:
        """Nothing, outside of the main thread: signals come to that alone."""
        if threading.current_thread() is threading.main_thread() and not self._before:
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}

    def end(self) -> None:
        """Signals go again to who heard them before."""
        for number, handler in self._before.items():
            if signal.getsignal(number) == self._note:  # else somebody else has taken it since
                signal.signal(number, handler)
        self._before = {}

    def obey(self) -> None:
        """Pass on what was asked, which ends the run."""
        if self.asked is not None:
            self.end()
            signal.raise_signal(self.asked)
            raise KeyboardInterrupt

    def _note(self, number: int, frame: object) -> None:
        if self.asked is None:
            self.asked, self._at = number, time.monotonic()
            # `print` could be what was interrupted
            os.write(2, b"\nit ends after this step, with a checkpoint; once more: at once\n")
        elif time.monotonic() - self._at > ECHO:
            self.end()
            signal.raise_signal(number)


def deaf(*_: object) -> None:
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
