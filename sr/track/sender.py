"""`python -m sr.track.sender`: the process that sends a run's journal to MLflow while the run trains.

It is not a thread, because MLflow takes up to 0.08 ms a point and holds Python's lock meanwhile, for which the training
thread would wait. The run writes to its input, a line each: what to send and where (JSON), then `done`. It answers with
lines of JSON: the messages of `Sender`, and `tried` after the first attempt. It ends when its input ends, so that it never
outlives the run.
"""

import contextlib
import gc
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime
from io import RawIOBase
from pathlib import Path
from typing import Any

from sr.runtime.signals import SIGNALS
from sr.track.sender_process import DATABASE_WORD
from sr.track.server import import_mlflow
from sr.track.server_error import describe_error, is_refusal
from sr.track.upload import Upload, send_run

PAUSE, MAX_PAUSE, MAX_DOUBLINGS = 5.0, 60.0, 5  # seconds between two attempts, doubled after each that failed
FINAL_ATTEMPTS = 3  # at the end of a run, if MLflow answered until then
HEARTBEAT_INTERVAL = 60.0  # seconds
NICENESS = 19  # the lowest priority: training goes first


class Sender:
    """Sends until `done` is set, and reports to the run by calling `report` with one of two keyword arguments.

    known: MLflow's IDs of the run and of its experiment, once it has them. failed: why MLflow does not answer; refused:
    what the user has to do before it accepts the run. Either is reported once, until it answers again.
    """

    def __init__(self, upload: Upload, report: Callable[..., None]) -> None:
        self.upload, self.done = upload, threading.Event()
        self.failures = 0  # failed attempts in a row
        self._report, self._last_heartbeat = report, 0.0
        self._reported_ids: list[str | None] = []
        self._reported_problems: set[str] = set()

    def run(self) -> None:
        """Send until the run is over and MLflow either has everything or does not answer."""
        background = threading.Thread(target=self._send_until_done)
        background.start()
        background.join()
        attempts_left = 1 if self.failures else FINAL_ATTEMPTS
        while not self.attempt() and (attempts_left := attempts_left - 1):
            time.sleep(FINAL_ATTEMPTS - attempts_left)

    def attempt(self) -> bool:
        """Send everything that may be sent; return whether MLflow accepted it."""
        try:
            self.upload.connect()
            if self._reported_ids != (ids := [self.upload.run_id, self.upload.experiment_id]):
                self._report(known=ids)
                self._reported_ids = ids
            self.upload.send_all()
            if time.monotonic() - self._last_heartbeat > HEARTBEAT_INTERVAL:
                self.upload.set_heartbeat(f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S %z}")
                self._last_heartbeat = time.monotonic()
        except Exception as error:  # whatever MLflow raises: its own errors, sqlalchemy's, requests'
            kind = "refused" if is_refusal(error) else "failed"
            if kind not in self._reported_problems:
                self._report(**{kind: describe_error(error)})
            self._reported_problems.add(kind)
            self.failures += 1
            return False
        self.failures = 0
        self._reported_problems.clear()
        return True

    def _send_until_done(self) -> None:
        os.nice(NICENESS)  # of this thread alone, on Linux
        while not self.done.wait(min(MAX_PAUSE, PAUSE * 2 ** min(self.failures, MAX_DOUBLINGS))):
            self.attempt()


def main() -> None:
    """Send one run. Signals are ignored: the run says when to end, and its death ends the input."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    orders, answers = open(0, "rb", buffering=0), os.fdopen(os.dup(1), "w", buffering=1)  # noqa: SIM115  until the end
    os.dup2(2, 1)  # what a library prints is no answer
    with contextlib.suppress(Exception):  # the attempt to send reports it
        import_mlflow(with_database=DATABASE_WORD in sys.argv)
    line = orders.readline()
    if not line:  # the run has ended already
        return
    order = json.loads(line)

    def report(**message: Any) -> None:
        with contextlib.suppress(OSError):  # the run has ended
            answers.write(f"{json.dumps(message)}\n")

    sender = Sender(Upload(Path(order["folder"]), order["uri"], Path(order["runs"])), report)
    threading.Thread(target=_read_orders, args=(orders, sender.done), daemon=True).start()
    sender.attempt()
    report(tried=True)
    gc.freeze()  # to search all that MLflow has imported for garbage would take a third of the time of sending
    threading.Thread(target=_send_orphans, args=(order["orphans"], order["uri"]), daemon=True).start()
    sender.run()


def _read_orders(orders: RawIOBase, done: threading.Event) -> None:
    while orders.readline():
        done.set()
    os._exit(1)


def _send_orphans(folders: list[str], uri: str) -> None:
    """Send the status of runs that were found dead, if they belong to this MLflow; `python -m sr.sync` sends the others."""
    os.nice(NICENESS)
    for folder in folders:
        with contextlib.suppress(Exception):  # the next run, or `python -m sr.sync`, tries again
            send_run(Path(folder), uri)


if __name__ == "__main__":
    main()
