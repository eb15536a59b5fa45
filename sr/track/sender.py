"""`python -m sr.track.sender`: the process that sends a run's journal to MLflow while the run trains.

Not a thread: MLflow takes some 0.08 ms a point, and Python's lock with it, which the training thread would wait for.
Its orders come from the run, a line each: what to send and where, then `done`. It answers with lines of JSON: what `Sender`
tells, and `tried` after the first upload. It ends with its input, so that it never outlives the run.
"""

import contextlib
import gc
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from datetime import datetime
from io import RawIOBase
from pathlib import Path
from typing import Any

from sr.track.server import describe_error
from sr.track.upload import Upload, send_run

PAUSE, LONGEST, DOUBLINGS = 5.0, 60.0, 5  # seconds between two uploads, which double after each that failed
TRIES = 3  # of an upload at the end, if MLflow had answered until then
BEAT = 60.0  # seconds between signs of life
NICE = 19  # whoever trains comes first


class Sender:
    """Sends until the run is `done`, and tells the run (as keyword arguments of `tell`):

    known: MLflow's ids of the run and of its experiment, once it has them; failed: why MLflow does not answer, once until it
    answers again.
    """

    def __init__(self, upload: Upload, tell: Callable[..., None]) -> None:
        self.upload, self.done = upload, threading.Event()
        self.fails = 0  # uploads in a row that failed
        self._tell, self._told, self._beaten = tell, False, 0.0

    def run(self) -> None:
        """Returns when the run is over, and MLflow has all of it or does not answer. What is sent then is waited for."""
        meanwhile = threading.Thread(target=self._meanwhile)
        meanwhile.start()
        meanwhile.join()
        tries = 1 if self.fails else TRIES
        while not self.attempt() and (tries := tries - 1):
            time.sleep(TRIES - tries)

    def _meanwhile(self) -> None:
        os.nice(NICE)  # of this thread alone, on Linux
        while not self.done.wait(min(LONGEST, PAUSE * 2 ** min(self.fails, DOUBLINGS))):
            self.attempt()

    def attempt(self) -> bool:
        """Whether MLflow took all that may be sent."""
        try:
            self.upload.connect()
            if not self._told:
                self._tell(known=[self.upload.run_id, self.upload.experiment_id])
                self._told = True
            self.upload.pump()
            if time.monotonic() - self._beaten > BEAT:
                self.upload.beat(f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S %z}")
                self._beaten = time.monotonic()
        except Exception as error:  # whatever MLflow raises: sqlalchemy's, requests', its own
            if not self.fails:
                self._tell(failed=describe_error(error))
            self.fails += 1
            return False
        self.fails = 0
        return True


def main() -> None:
    """Signals are the run's business: it says when to end, and its death is the end of the input."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    orders, answers = open(0, "rb", buffering=0), os.fdopen(os.dup(1), "w", buffering=1)  # noqa: SIM115  until the end
    os.dup2(2, 1)  # what a library prints is no answer
    line = orders.readline()
    if not line:  # the run is gone already
        return
    order = json.loads(line)

    def tell(**words: Any) -> None:
        with contextlib.suppress(OSError):  # the run is gone
            answers.write(f"{json.dumps(words)}\n")

    sender = Sender(Upload(Path(order["folder"]), order["uri"], Path(order["runs"])), tell)
    threading.Thread(target=_obey, args=(orders, sender.done), daemon=True).start()
    sender.attempt()
    tell(tried=True)
    gc.freeze()  # what MLflow has imported: to look through it for garbage takes a third of all sending
    threading.Thread(target=_bury, args=(order["orphans"], order["uri"]), daemon=True).start()
    sender.run()


def _obey(orders: RawIOBase, done: threading.Event) -> None:
    while orders.readline():
        done.set()
    os._exit(1)


def _bury(orphans: list[str], uri: str) -> None:
    """Runs whose processes are gone are not RUNNING in this MLflow either; of another one, `python -m sr.sync` tells."""
    os.nice(NICE)
    for folder in orphans:
        with contextlib.suppress(Exception):  # the next run, or `python -m sr.sync`, tries again
            send_run(Path(folder), uri)


if __name__ == "__main__":
    main()
