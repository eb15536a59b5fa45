"""The life of a run, the same for a training and an evaluation: opened with its provenance, closed with its true status."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import torch

from sr.callback.system_metrics import SystemMetrics
from sr.data.fingerprint import SetFingerprint
from sr.lifecycle.provenance import save_fingerprint
from sr.lifecycle.run_end import close_on_exit, end_run, raise_disk_errors
from sr.lifecycle.run_start import RunStart, save_text
from sr.record.identity import FINISHED
from sr.record.result import SUMMARY_FILE
from sr.record.run_folder import remove_unused_folder
from sr.track.tracker import Tracker


class RunReport(Protocol):
    """The results of a run, as its command stores and prints them at the end, also of a run that failed."""

    def store(self, status: str) -> None:
        """Write the results into the run's folder and report them to the tracker, which is still open."""

    def print(self, status: str) -> None:
        """Print the results and what can be done with them; the tracker is closed by now."""


class TrackedRun:
    """A run between its start and its end: its folder, its tracker, and samples of its machine while it lasts.

    `step` returns the present training step, for the samples. If several processes train together, only the main one
    tracks and writes; in the others `is_main` is False and nothing happens.
    """

    def __init__(
        self,
        start: RunStart,
        tracker: Tracker,
        folder: Path,
        step: Callable[[], int] = lambda: 0,
        is_main: bool = True,
    ) -> None:
        self.start, self.tracker, self.folder, self.step, self.is_main = start, tracker, folder, step, is_main
        self.system_metrics = SystemMetrics(tracker, folder, tracker.system_interval, step)
        self._is_new = True
        self._is_open = False  # before, the folder may belong to the same run in another process

    @contextlib.contextmanager
    def open(
        self,
        report: RunReport,
        protocol: str,
        tags: dict[str, str],
        device: torch.device,
        fingerprint: list[SetFingerprint],
        resumed_step: int | None = None,
    ) -> Iterator[None]:
        """Open the run for the block, and close it with how the block ended; `report` is stored and printed then.

        `protocol` is the name of the evaluation protocol, `fingerprint` describes the images. If a run is resumed,
        `resumed_step` is the step of its checkpoint, and what it has reported of later steps is void.
        """
        self._is_new = resumed_step is None
        with close_on_exit(lambda status, reason: self._close(report, status, reason)):
            if self.is_main:
                with raise_disk_errors(self.folder):
                    if not self._is_new:
                        self.start.store_options(self.folder)
                    self.start.open(self.tracker, self.folder, protocol, tags, device)
                    self._is_open = True
                    if resumed_step is not None:
                        (self.folder / SUMMARY_FILE).unlink(missing_ok=True)  # of the end before
                        self.tracker.rewind(resumed_step)
                        self.tracker.mark_saved(resumed_step)
                    self.system_metrics.start()
                    save_fingerprint(fingerprint, self.tracker, self.folder)
            yield

    def save_text(self, name: str, text: str) -> None:
        """Write a text file into the run's folder, whole or not at all, and report it to the tracker."""
        save_text(self.tracker, self.folder, name, text)

    def print_location(self, checkpoint: Path | None = None) -> None:
        """Print where the run is: its ID in the tracker, its folder, its best checkpoint, its page."""
        if self.tracker.run_id:
            print(f"run         {self.tracker.run_id}")
        print(f"folder      {self.folder}")
        if checkpoint:
            print(f"checkpoint  {checkpoint}")
        if self.tracker.location_line:
            print(self.tracker.location_line)

    def _close(self, report: RunReport, status: str, reason: str | None) -> None:
        if not self.is_main:
            return
        end_run(self.tracker, self.folder, status, reason, lambda: self._store(report, status))
        if self._is_open:
            report.print(status)

    def _store(self, report: RunReport, status: str) -> None:
        self.system_metrics.stop()
        if self._is_open:
            if status == FINISHED:  # otherwise there may be no time; an ID that is late is added to the results
                self.tracker.wait_for_page()
            report.store(status)
        elif self._is_new:  # not the folder of a run that was to be resumed
            remove_unused_folder(self.folder)
