"""End all processes of a training soon after one of them has failed or has stopped to answer.

torchrun and srun start processes on several machines, and each waits for the others: at the start for half an hour, on
GPUs also in the middle of a step. So each reports every few seconds that it is alive, and why it ends.
"""

import contextlib
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sr.runtime.error import UserError
from sr.runtime.launch import count_tasks, find_rank, is_launched_by_others
from sr.runtime.rendezvous import connect_store
from sr.runtime.signals import signals

if TYPE_CHECKING:
    from torch.distributed import Store

INTERVAL = 2.0  # seconds between two reports
LOST_SECONDS = 60.0  # without a report of a process, it has failed
GRACE_SECONDS = 20.0  # for the main thread to end after an interrupt; inside a call of NCCL or gloo it does not see it
SERVICE_SECONDS = 30.0  # for which the first process answers the others after its own end
FAILED = "failed"  # the key of the first failure


@contextlib.contextmanager
def watch_processes() -> Iterator[None]:
    """Report the end of the block to the other processes, and interrupt it when one of them has failed.

    Nothing happens unless torchrun or srun has started several processes.
    """
    if not is_launched_by_others():
        yield
        return
    signals.reset()  # of a run before in this process, whose end would hide the failure of another process
    heartbeat = Heartbeat(find_rank(), count_tasks())
    heartbeat.start()
    failure: str | None = "ended"
    try:
        yield
        failure = None
    except SystemExit as end:
        failure = f"ended with exit code {end.code}" if end.code else None
        raise
    finally:
        heartbeat.end(failure)


class Heartbeat(threading.Thread):
    """The reports of this process, and the search for processes whose reports have stopped.

    The first process watches all, the others watch the first one.
    """

    def __init__(self, rank: int, count: int) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self.rank = rank
        self.watched = range(1, count) if rank == 0 else range(1)
        self._store: Store | None = None
        self._is_connected, self._is_ended = threading.Event(), threading.Event()
        self._counts: dict[int, tuple[int, float]] = {}  # of reports, and since when

    def run(self) -> None:
        try:
            self._store = connect_store()
        except RuntimeError:  # torch's process group cannot be built either, and says so
            return
        self._is_connected.set()
        while not self._is_ended.wait(INTERVAL):
            failure = self._find_failure()
            if failure and not self._is_ended.is_set():
                self._abort(failure)
                return

    def end(self, failure: str | None) -> None:
        """Report that this process ends, and why if it has failed; the first one waits until the others know it."""
        self._is_ended.set()
        if not self._is_connected.wait(SERVICE_SECONDS if failure else 0):
            return
        with contextlib.suppress(RuntimeError):  # the first process has ended
            if failure:
                self._report_failure(f"process {self.rank} ({socket.gethostname()}) {failure}")
            self._store.set(f"end {self.rank}", "")
            deadline = time.monotonic() + (2 * INTERVAL if failure else SERVICE_SECONDS)
            ends = [f"end {rank}" for rank in self.watched]
            while self.rank == 0 and not self._store.check(ends) and time.monotonic() < deadline:
                time.sleep(0.1)

    def _find_failure(self) -> str | None:
        """Report that this process is alive; return what is known of the failure of another one."""
        try:
            self._store.add(f"alive {self.rank}", 1)
            lost = [rank for rank in self.watched if self._is_silent(rank)]
            if lost:
                self._report_failure(f"process {lost[0]} no longer answers")
            return self._store.get(FAILED).decode() if self._store.check([FAILED]) else None
        except RuntimeError:
            return "the first process has ended"

    def _is_silent(self, rank: int) -> bool:
        """Return True if a process has reported, but not for a while, and has not ended as it should."""
        count, now = self._store.add(f"alive {rank}", 0), time.monotonic()
        if count == 0 or count != self._counts.get(rank, (0, now))[0]:
            self._counts[rank] = (count, now)
        return now - self._counts[rank][1] > LOST_SECONDS and not self._store.check([f"end {rank}"])

    def _report_failure(self, text: str) -> None:
        self._store.compare_set(FAILED, "", text)  # the first one is the cause of others

    def _abort(self, failure: str) -> None:
        """Interrupt the main thread; end the process if that has no effect, unless it writes its results."""
        if signals.is_ending or signals.is_closing:
            return
        signals.abort(f"another process of this training has failed: {failure}; its own output says why")
        if not self._is_ended.wait(GRACE_SECONDS) and not signals.is_closing:
            print(f"\nerror: {signals.abort_reason}", file=sys.stderr, flush=True)
            os._exit(1)


LOST_CONNECTION = re.compile(r"gloo|Connection (closed|reset)|Broken pipe")


@contextlib.contextmanager
def explain_lost_process() -> Iterator[None]:
    """Turn errors of torch's process group about lost connections into one that a user can read."""
    try:
        yield
    except RuntimeError as error:
        from torch.distributed import DistError

        is_lost = isinstance(error, DistError) or LOST_CONNECTION.search(str(error))
        if count_tasks() <= 1 or not is_lost:
            raise
        peer = re.search(r"\[([\w.:]+)\]:\d+", str(error))
        where = f" at {peer[1]}" if peer else ""
        raise UserError(
            f"another process of this training{where} has ended or cannot be reached; its own output says why"
        ) from error
