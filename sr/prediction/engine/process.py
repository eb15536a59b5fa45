"""`engine=process`: several processes of this machine, each with the net in memory; a free one takes the next chunk."""

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
from collections.abc import Iterator
from multiprocessing import connection, forkserver
from multiprocessing.process import BaseProcess

from sr.checkpoint.load import LoadedNet
from sr.prediction.engine.upscaler import Chunk, JobOutcome, JobQueue, NumberedJob, Report, UpscaleOptions
from sr.prediction.engine.worker import Ready, Share, fail, serve
from sr.runtime.error import UserError
from sr.runtime.signals import block_signals

PRELOAD = ["sr.prediction.engine.worker"]
HAS_FORK_SERVER = sys.platform == "linux"  # Windows has no fork, and Apple's libraries do not support it
Message = JobOutcome | Share | Ready


def start_server() -> None:
    """Let the fork server start, which needs some seconds to import PyTorch; its processes then begin in a moment."""
    if HAS_FORK_SERVER:
        multiprocessing.set_forkserver_preload(PRELOAD)
        with block_signals():  # both are for the processes and not for the server
            forkserver.ensure_running()


class StartError(UserError):
    """Worker processes cannot be started here."""


class ProcessEngine:
    """Upscales chunks in `count` processes with `threads` threads each; `options` are those of each of them.

    A process that is lost, as one that the system has ended for its memory, is replaced. Its images are upscaled once more,
    and have an error if their process is lost again.
    """

    def __init__(self, model: LoadedNet, options: UpscaleOptions, count: int, threads: int) -> None:
        # By pickle itself: multiprocessing's own would move the weights into shared memory, of which containers have little.
        try:
            self._arguments = (pickle.dumps((model, options)), threads)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise StartError(
                f"engine=process: the network cannot be sent to a process ({error}); type engine=none"
            ) from None
        self._context = multiprocessing.get_context("forkserver" if HAS_FORK_SERVER else "spawn")
        start_server()
        self._workers: list[Worker] = []
        for _ in range(count):
            self._start_worker()

    def iterate_outcomes(self, queue: JobQueue, report: Report) -> Iterator[JobOutcome]:
        """Yield the outcomes as they come, and end the processes. After Ctrl-C what is computed already is yielded first.

        Raises `StartError` if no process is able to begin; what is in the queue then has not been begun.
        """
        try:
            while self._workers:
                for worker, message in self._receive():
                    if message is None:
                        yield from self._replace(worker, queue)
                    elif isinstance(message, Share):
                        report(*message)
                    elif isinstance(message, JobOutcome):
                        yield message
                    if message is not None and worker.is_free:
                        self._hand_out(worker, queue)
        except KeyboardInterrupt:
            yield from self._stop()
            raise
        finally:
            self.close()

    def close(self) -> None:
        """End all processes; what they are working on is removed."""
        for worker in self._workers:
            worker.interrupt()
        for worker in self._workers:
            worker.end()
        self._workers = []

    def _start_worker(self) -> None:
        messages, other = self._context.Pipe()
        process = self._context.Process(target=serve, args=(other, *self._arguments), daemon=True)
        try:
            with block_signals():  # the process unblocks them when it can handle them
                process.start()
        except OSError as error:
            raise StartError(f"engine=process: no process can be started ({error}); type engine=none") from None
        other.close()
        self._workers.append(Worker(process, messages))

    def _receive(self) -> Iterator[tuple["Worker", Message | None]]:
        """Yield the next message of each process that has one; None: it has ended."""
        ready = connection.wait([worker.messages for worker in self._workers])
        for worker in [worker for worker in self._workers if worker.messages in ready]:
            yield worker, worker.receive()

    def _hand_out(self, worker: "Worker", queue: JobQueue) -> None:
        """Give a free process its next jobs, or end it if there are none; after a loss there is a new process for those."""
        jobs = queue.take()
        if jobs:
            worker.send(jobs)
        else:
            self._workers.remove(worker)
            worker.end()

    def _replace(self, worker: "Worker", queue: JobQueue) -> Iterator[JobOutcome]:
        """Start a process in place of one that was lost, and yield outcomes for jobs that are lost the second time."""
        self._workers.remove(worker)
        reason = worker.end()
        for job in queue.put_back(list(worker.jobs.values())):
            yield fail(job, f"the process that works on it is {reason}, twice; try memory= or workers=")
        if worker.is_ready and queue:
            self._start_worker()
        elif queue and not self._workers:
            raise StartError(f"engine=process: its processes cannot begin ({reason}); type engine=none")

    def _stop(self) -> Iterator[JobOutcome]:
        """Interrupt all processes, and yield what they have computed."""
        for worker in self._workers:
            worker.interrupt()
        while self._workers:
            for worker, message in self._receive():
                if message is None:
                    self._workers.remove(worker)
                    worker.end()
                elif isinstance(message, JobOutcome):
                    yield message


class Worker:
    """A process and what it has been given; `jobs` by their numbers, those without an outcome."""

    def __init__(self, process: BaseProcess, messages: connection.Connection) -> None:
        self.process, self.messages, self.jobs = process, messages, dict[int, NumberedJob]()
        self.is_ready = False

    @property
    def is_free(self) -> bool:
        """True if it waits for jobs."""
        return self.is_ready and not self.jobs

    def send(self, jobs: Chunk) -> None:
        """Give it jobs; if it has ended meanwhile, `receive` finds out."""
        self.jobs = {job.number: job for job in jobs}
        with contextlib.suppress(OSError):
            self.messages.send(jobs)

    def receive(self) -> Message | None:
        """Return its message; None if it has ended."""
        try:
            message = self.messages.recv()
        except (EOFError, OSError):
            return None
        if isinstance(message, Ready):
            self.is_ready = True
        elif isinstance(message, JobOutcome):
            del self.jobs[message.number]
        return message

    def interrupt(self) -> None:
        """Let it write what is computed, and end."""
        if self.process.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGINT)

    def end(self) -> str:
        """Close the connection, by which the process ends, wait for that, and return how it has ended."""
        self.messages.close()
        self.process.join()
        code = self.process.exitcode
        if code < 0:
            return f"ended by signal {-code}{' (out of memory?)' if code == -signal.SIGKILL else ''}"
        return f"ended with exit code {code}"
