"""Upscale the images of requests: decoded and encoded by a pool of threads, upscaled by one thread, which has the network."""

import contextlib
import functools
import threading
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import torch
from torch import nn

from sr.checkpoint.load import LoadedNet
from sr.image.file_format import WriteOptions
from sr.prediction.jobs import Job, Output, ProbedImage, list_jobs
from sr.prediction.opened_job import OpenedJob, UpscaleJob, UpscaleResult, count_images, open_job
from sr.prediction.pipeline import Pipeline
from sr.prediction.result_size import ResultSize
from sr.prediction.sources import InputImage
from sr.runtime import malloc
from sr.runtime.error import UserError
from sr.runtime.free_memory import measure_free_memory
from sr.runtime.parallel import BackgroundPool
from sr.serving.admission import admit
from sr.serving.error import translate_error
from sr.serving.parameters import Parameters

TILE_SECONDS = 60  # that a tile may take
WRITES_AHEAD = 4  # results in memory that are not encoded yet


class Answer(NamedTuple):
    """An upscaled image file."""

    job: Job
    result: UpscaleResult
    waited: float  # seconds until the network began with it


class UnwantedError(UserError):
    """Nobody waits for the image any more."""


class Order:
    """The image of one request on its way; `answer` is completed by the engine."""

    def __init__(self, source: Path, target: Path, parameters: Parameters) -> None:
        self.source, self.target, self.parameters = source, target, parameters
        self.answer: Future[Answer] = Future()
        self.is_unwanted = False  # set by whoever does not wait any more; work on it ends before the next tile
        self.job: Job | None = None
        self.opened: OpenedJob | None = None
        self.begun = self.accepted = time.monotonic()

    @property
    def batch_key(self) -> object:
        """The properties of orders that may be upscaled at once; None: this one is upscaled alone."""
        key = self.opened.batch_key
        return None if key is None else (key, self.parameters.tile)

    def fail(self, error: BaseException) -> None:
        """Answer with an error."""
        self.answer.set_exception(translate_error(error, (self.source, self.target)))


class Engine:
    """Upscales orders; `submit` may be called from any thread, once `model` is set."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config
        self.model: LoadedNet | None = None
        self._pool = BackgroundPool(config["workers"], "sr-files")
        self._reading = BackgroundPool(1, "sr-read")  # of large images, strip by strip
        self._ready: deque[Order] = deque()
        self._changed = threading.Condition()
        self._is_closing = False
        self._current: list[Order] = []  # in the network
        self._threads = torch.get_num_threads()
        self._writes = threading.Semaphore(WRITES_AHEAD)
        self._thread = threading.Thread(target=self._compute, name="sr-net", daemon=True)

    def start(self, model: LoadedNet) -> None:
        """Begin to upscale."""
        self.model = model
        model.net.register_forward_pre_hook(self._require_any_wanted)
        self._thread.start()

    def submit(self, order: Order) -> None:
        """Upscale the image of an order, whose `answer` is completed: with an `Answer`, or with a `ServiceError`."""
        self._pool.submit(self._open, order)

    def close(self) -> None:
        """End the threads, that of the network after its tile. Orders that are not completed are not completed any more."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(TILE_SECONDS)  # a process that exits while PyTorch computes in a thread is aborted
        self._reading.shutdown(wait=False, cancel_futures=True)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _open(self, order: Order) -> None:
        try:
            self._require_wanted(order)
            order.job = self._plan(order)
            job = order.job
            write = WriteOptions(quality=order.parameters.quality)
            order.opened = open_job(self.model, UpscaleJob(job.source, job.target, job.format, write, None, job.size))
            if order.opened.error is not None:
                raise order.opened.error
        except BaseException as error:
            order.fail(error)
            return
        with self._changed:
            self._drop_unwanted()
            self._ready.append(order)
            self._changed.notify()

    def _drop_unwanted(self) -> None:
        """Release decoded images that nobody waits for: clients that leave must not fill the memory."""
        for order in [order for order in self._ready if order.is_unwanted]:
            self._ready.remove(order)
            order.opened.resources.close()
            order.fail(UnwantedError("nobody waits for this image"))

    def _plan(self, order: Order) -> Job:
        """Return what the image becomes; raise if it is not accepted."""
        header = admit(order.source, self.config["formats"], self.config["max_pixels"])
        parameters = order.parameters
        output = Output(order.target, True, parameters.format, is_stdout=True)
        jobs, failures = list_jobs(
            [ProbedImage(InputImage(order.source), header)],
            output,
            ResultSize(parameters.outscale),
            self.model.scale,
        )
        if failures:
            raise failures[0].error
        return jobs[0]

    def _compute(self) -> None:
        """Upscale what is ready, in order."""
        torch.set_num_threads(self._threads)  # a thread that begins while another one computes alone would have one
        in_use = psutil.Process().memory_info().rss
        memory = self.config["memory"]
        budget = measure_free_memory() // 2 if memory is None else memory - in_use
        create = functools.partial(
            Pipeline, self.model, self.config["ensemble"], overlap=None, budget=budget, reading=self._reading,
            writing=self._pool, report=None,
        )  # fmt: skip
        usual = create(tile=None)
        while (batch := self._take_batch()) is not None:
            tile = batch[0].parameters.tile
            try:
                with torch.no_grad():
                    self._upscale(batch, usual if tile is None else create(tile=tile))
            except BaseException as error:  # no image may end this thread
                for order in [order for order in batch if not order.answer.done()]:
                    order.opened.resources.close()
                    order.fail(error)
            del batch  # the last images would be in memory until the next ones come

    def _take_batch(self) -> list[Order] | None:
        """Return the next order, and others like it if `batch=true`; wait for one. None: the service ends."""
        with self._changed:
            while not self._ready:
                if self._is_closing:
                    return None
                self._changed.wait()
            first = self._ready.popleft()
            batch = [first]
            if self.config["batch"] and first.batch_key is not None:
                limit = count_images(first.opened)
                same = [order for order in self._ready if order.batch_key == first.batch_key][: limit - 1]
                for order in same:
                    self._ready.remove(order)
                batch += same
            return batch

    def _upscale(self, batch: list[Order], pipeline: Pipeline) -> None:
        is_single = len(batch) == 1  # those of a batch are small
        if is_single:
            self._writes.acquire()
        for order in batch:
            order.begun = time.monotonic()
        self._current = batch
        try:
            futures = pipeline.submit([order.opened for order in batch])
        except BaseException:
            if is_single:
                self._writes.release()
            raise
        for order, future in zip(batch, futures, strict=True):
            future.add_done_callback(functools.partial(self._finish, order))
            if is_single:
                future.add_done_callback(lambda _: self._writes.release())
        malloc.return_freed_memory()

    def _finish(self, order: Order, future: Future[UpscaleResult]) -> None:
        try:
            result = future.result()
            if result.error is not None:
                raise result.error
        except BaseException as error:
            order.fail(error)
        else:
            order.answer.set_result(Answer(order.job, result, order.begun - order.accepted))
        order.opened = None

    def _require_any_wanted(self, *_: Any) -> None:
        """Raise before a tile of images that nobody waits for: a hook of the network."""
        if self._is_closing or (self._current and all(order.is_unwanted for order in self._current)):
            raise UnwantedError("nobody waits for this image")

    def _require_wanted(self, order: Order) -> None:
        if order.is_unwanted:
            raise UnwantedError("nobody waits for this image")


@torch.no_grad()
def warm_up(net: nn.Module, channels: int, device: torch.device) -> None:
    """Apply the network once: the first time is slow. Raise `UserError` if its output is no image."""
    lr = torch.zeros(1, channels, 32, 32, device=device)
    with contextlib.suppress(StopIteration):
        weight = next(net.parameters())
        lr = lr.to(weight.dtype)
    if not net(lr).isfinite().all():
        raise UserError("checkpoint: the net's output is NaN or infinite; its weights are damaged")
