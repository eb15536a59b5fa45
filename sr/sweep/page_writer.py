"""Write the page of a sweep, its importances and plots while trials run, at a small share of the time."""

import contextlib
import os
import threading
import time
from collections.abc import Callable

from sr.record.run_file import write_atomic
from sr.runtime.terminal import print_note
from sr.sweep.page import SweepState, build_page, format_importances
from sr.sweep.plots import write_images
from sr.sweep.study import Study

PAGE_FILE, IMPORTANCES_FILE, PLOTS_FOLDER = "sweep.html", "importances.txt", "plots"
MAX_SHARE = 0.03  # of the time that the page may take from the trials
FIRST_COST = 4.0  # CPU seconds of the first time, with the imports
NICENESS = 10  # of the thread: trials come first
STOP_SECONDS = 10.0  # that an interruption waits for the page


class PageWriter:
    """Writes the page when trials have ended, in a thread; at the end of the sweep always.

    `read_state` reads the study, in the calling thread. Whatever goes wrong with the page is a note: the sweep goes on.
    """

    def __init__(self, study: Study, read_state: Callable[[], SweepState], max_share: float = MAX_SHARE) -> None:
        self._study, self._read_state, self._max_share = study, read_state, max_share
        self._ended_before = self._count_ended()
        self._thread: threading.Thread | None = None
        self._next_time = time.monotonic() + FIRST_COST * (1 / max_share - 1)

    def update(self) -> None:
        """Write the page in the background, unless that was done a short while ago or still goes on."""
        if time.monotonic() < self._next_time or (self._thread and self._thread.is_alive()):
            return
        arguments = (self._read_state(),)
        self._thread = threading.Thread(target=self._write_in_background, args=arguments, name="page", daemon=True)
        self._thread.start()

    def stop(self, timeout: float | None = STOP_SECONDS) -> None:
        """Wait until the page that is being written is there; no other one is begun."""
        if self._thread:
            self._thread.join(timeout)

    def finish(self) -> SweepState:
        """Write the page of all trials, unless it is there and no trial has ended since; return the state of the sweep."""
        self.stop(timeout=None)
        state = self._read_state()
        if self._count_ended() != self._ended_before or not (state.folder / PAGE_FILE).exists():
            write_page(state)
        return state

    def _count_ended(self) -> int:
        return sum(trial.state.is_finished() for trial in self._study.trials)

    def _write_in_background(self, state: SweepState) -> None:
        with contextlib.suppress(AttributeError, OSError):  # Linux knows a niceness of threads
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        start = time.thread_time()
        write_page(state)
        self._next_time = time.monotonic() + (time.thread_time() - start) * (1 / self._max_share - 1)


def write_page(state: SweepState) -> None:
    """Write the page, the importances and the plots into the sweep's folder; what cannot be written is a note."""
    try:
        write_atomic(state.folder / PAGE_FILE, build_page(state).render())
        write_atomic(state.folder / IMPORTANCES_FILE, format_importances(state))
        (state.folder / PLOTS_FOLDER).mkdir(exist_ok=True)
        write_images(state.copy, state.objectives, state.folder / PLOTS_FOLDER)
    except Exception as error:  # a disk that is full, or whatever a library raises
        print_note(f"{state.folder / PAGE_FILE} is not up to date ({type(error).__name__}: {error}); the sweep goes on")
