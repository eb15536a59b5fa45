"""Ctrl-C and SIGTERM that wait for the end of a step: what is kept in the middle of one could not be resumed exactly."""

import os
import signal
import threading
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Polite:
    """Between `begin` and `end` the first signal only sets `asked`; a second one does what it did before."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def begin(self) -> None:
        """Nothing, outside of the main thread: signals come to that alone."""
        if threading.current_thread() is threading.main_thread() and not self._before:
            self._before = {number: signal.signal(number, self._ask) for number in SIGNALS}

    def end(self) -> None:
        """Signals do what they did before."""
        for number, handler in self._before.items():
            if signal.getsignal(number) == self._ask:  # else somebody else has taken it since
                signal.signal(number, handler)
        self._before = {}

    def obey(self) -> None:
        """Raise `KeyboardInterrupt` where one was asked for."""
        if self.asked:
            self.end()
            raise KeyboardInterrupt

    def _ask(self, number: int, frame: object) -> None:
        self.asked = True
        self.end()
        # `print` could be what was interrupted
        os.write(2, b"\nit ends after this step, with a checkpoint; once more: at once\n")
