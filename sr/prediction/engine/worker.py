"""A worker process of `engine=process`: it has the net in memory, and upscales the chunks that it receives.

The fork server imports this module, so that workers start with PyTorch in memory; importing it starts no thread.
"""

import os
import pickle
import signal
import threading
from multiprocessing import connection, parent_process
from multiprocessing.connection import Connection
from typing import NamedTuple

import torch

from sr.prediction.engine.upscaler import Chunk, JobOutcome, NumberedJob, Upscaler
from sr.prediction.opened_job import UpscaleResult, name_source
from sr.runtime import malloc
from sr.runtime.error import DiskError, UserError, is_disk_full
from sr.runtime.signals import SIGNALS, unblock_signals


class Ready(NamedTuple):
    """The message of a worker that has loaded the net."""


class Share(NamedTuple):
    """The message that a share, in 0…1, of a large image is upscaled."""

    number: int
    share: float


def serve(messages: Connection, content: bytes, threads: int) -> None:
    """Upscale the chunks that `messages` receives, and send an outcome for each job.

    `content` is a pickled model and its `UpscaleOptions`. SIGINT, which the parent sends to stop, and SIGTERM, which SLURM
    sends to all processes, end it as Ctrl-C does: what is computed is written and sent. Without its parent it ends at once.
    """
    for number in SIGNALS:
        signal.signal(number, _interrupt)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    malloc.retain_freed_memory()
    try:
        unblock_signals()
        upscaler = Upscaler(*pickle.loads(content), lambda number, share: messages.send(Share(number, share)))  # noqa: S301
        messages.send(Ready())
        while True:
            _upscale(upscaler, messages.recv(), messages)
    except (KeyboardInterrupt, EOFError, OSError):  # stopped, or the parent has closed the connection
        return


def _upscale(upscaler: Upscaler, chunk: Chunk, messages: Connection) -> None:
    left = {numbered.number: numbered for numbered in chunk}
    try:
        for outcome in upscaler.upscale(chunk):
            del left[outcome.number]
            messages.send(_make_picklable(outcome))
    except Exception as error:  # such as one of NIQE; an error of an image is part of its result
        for numbered in left.values():
            messages.send(fail(numbered, f"{type(error).__name__}: {error}"))


def fail(numbered: NumberedJob, reason: str) -> JobOutcome:
    """Return the outcome of a job that cannot be completed."""
    job = numbered.job
    return JobOutcome(
        numbered.number, UpscaleResult(job, UserError(f"{name_source(job)}: cannot be upscaled ({reason})"))
    )


def _make_picklable(outcome: JobOutcome) -> JobOutcome:
    """Return the outcome with an error that holds nothing but its text, and its kind."""
    error = outcome.result.error
    if error is None:
        return outcome
    plain = DiskError(str(error)) if is_disk_full(error) else UserError(str(error))
    return outcome._replace(result=outcome.result._replace(error=plain))


def _interrupt(*_: object) -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _exit_with_parent() -> None:
    connection.wait([parent_process().sentinel])
    os._exit(1)
