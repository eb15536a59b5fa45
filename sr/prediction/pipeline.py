"""Upscale image files one after another; meanwhile the next file is read, and the last one is written."""

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from functools import partial

import psutil
import torch

from sr.checkpoint.load import LoadedNet
from sr.image.file_format import Frame
from sr.image.write import write_atomically
from sr.inference.footprint import Needs, choose_tiling
from sr.inference.strip import StripUpscaler
from sr.inference.tile import Tiling
from sr.prediction.opened_job import (
    OpenedJob,
    UpscaleJob,
    UpscaleResult,
    count_images,
    describe_success,
    leave_unfinished,
    open_job,
    report_error,
)
from sr.prediction.stream import upscale_batch, upscale_decoded, upscale_frames
from sr.runtime.ahead import map_ahead
from sr.runtime.error import UserError
from sr.runtime.free_memory import measure_free_memory
from sr.runtime.parallel import BackgroundPool

FILES_AHEAD = 8  # that are open
STRIPS = 5  # copies of a strip of the result: one that grows, one that is encoded, what the encoder needs


def iterate_upscaled(
    model: LoadedNet,
    jobs: Iterable[UpscaleJob],
    *,
    ensemble: bool = False,
    tile: int | None = None,
    overlap: int | None = None,
    memory: int | None = None,
    report: Callable[[float], None] | None = None,
) -> Iterator[UpscaleResult]:
    """Upscale the images, and yield the results in the order of the jobs.

    Args:
        model: of `sr.load`.
        jobs: they may come from a generator; it is read a few images ahead.
        ensemble: average over the eight flips and rotations.
        tile: side of a tile in LR pixels; None: chosen by `memory`.
        overlap: LR pixels that each tile sees beyond itself; None: as far as the net sees.
        memory: bytes that the process may use; None: half of what is free.
        report: is called with the share, in 0…1, of a large image that is upscaled; all results before it are yielded then.

    Yields:
        A result for each job. An image that cannot be upscaled has an `error`, and the others go on. A target is complete
        or does not exist: it is written under a temporary name in its folder.
    """
    in_use = psutil.Process().memory_info().rss
    budget = measure_free_memory() // 2 if memory is None else memory - in_use
    with BackgroundPool(1, "read") as reading, BackgroundPool(1, "write") as writing, torch.no_grad():
        pipeline = Pipeline(model, ensemble, tile, overlap, budget, reading, writing, report)
        opened = map_ahead(partial(open_job, model), jobs, reading, FILES_AHEAD)
        with contextlib.closing(opened):
            try:
                yield from pipeline.iterate_results(opened)
            except KeyboardInterrupt:  # what is computed already is written and reported first
                yield from pipeline.iterate_pending(0)
                raise


class Pipeline:
    """Upscales opened images; `budget` are the bytes that this may need."""

    def __init__(
        self,
        model: LoadedNet,
        ensemble: bool,
        tile: int | None,
        overlap: int | None,
        budget: int,
        reading: Executor,
        writing: Executor,
        report: Callable[[float], None] | None,
    ) -> None:
        self.model, self.ensemble, self.tile, self.overlap, self.budget = model, ensemble, tile, overlap, budget
        self.reading, self.writing, self.report = reading, writing, report
        self._limit: int | None = None  # side of the largest tile that memory has sufficed for
        self._pending: deque[Future[UpscaleResult]] = deque()

    def iterate_results(self, opened_jobs: Iterable[OpenedJob]) -> Iterator[UpscaleResult]:
        """Yield the results in order; images of one size that follow one another are upscaled in batches."""
        batch: list[OpenedJob] = []
        for opened in opened_jobs:
            if batch and (opened.batch_key != batch[0].batch_key or len(batch) >= count_images(batch[0])):
                self._upscale_batch(batch)
                batch = []
            if opened.error is None and opened.batch_key is not None:
                batch.append(opened)
            else:
                if opened.error is None and opened.frame is None:  # large: nothing else is in memory meanwhile
                    yield from self.iterate_pending(0)
                self._upscale_alone(opened)
            yield from self.iterate_pending(FILES_AHEAD)
        if batch:
            self._upscale_batch(batch)
        yield from self.iterate_pending(0)

    def submit(self, batch: list[OpenedJob]) -> list[Future[UpscaleResult]]:
        """Upscale images of one `batch_key`, or a single image; return the results, which `writing` completes."""
        self._pending = deque()
        self._upscale_batch(batch)
        return list(self._pending)

    def iterate_pending(self, count: int) -> Iterator[UpscaleResult]:
        """Yield results that are complete, and wait until not more than `count` are not."""
        while self._pending and (len(self._pending) > count or self._pending[0].done()):
            result = self._pending[0].result()  # Ctrl-C while it is waited for must not lose it
            self._pending.popleft()
            yield result

    def _upscale_batch(self, batch: list[OpenedJob]) -> None:
        """Upscale images of one size at once; one by one if that fails."""
        if len(batch) == 1:
            self._upscale_alone(batch[0])
            return
        start = time.monotonic()
        upscaler = self._create_upscaler(Tiling(*batch[0].levels.lr_size, margin=0))
        upscaler.is_divisible = False  # if memory is short, the batch is divided first, not the images
        try:
            frames = upscale_batch(upscaler, [one.levels for one in batch], [one.frame for one in batch])
        except (UserError, RuntimeError, MemoryError):  # of one of them
            for one in batch:
                self._upscale_alone(one)
            return
        seconds = (time.monotonic() - start) / len(batch)
        for one, frame in zip(batch, frames, strict=True):
            self._pending.append(self.writing.submit(write_small, one, frame, [], seconds))

    def _upscale_alone(self, opened: OpenedJob) -> None:
        """Upscale one image, and append its result, or one that has an error."""
        start = time.monotonic()
        if opened.error is not None:
            self._pending.append(self.writing.submit(UpscaleResult, opened.job, opened.error))
            return
        result = None
        with opened.resources if opened.frame is None else contextlib.nullcontext():
            try:
                with report_error(opened.levels.name):
                    if opened.frame is None:
                        result = self._upscale_large(opened)
                    else:
                        upscaler = self._create_upscaler(self._choose_tiling(opened, is_streaming=False))
                        frame = upscale_decoded(upscaler, opened.levels, opened.frame)
                        notes = self._adopt_limit(upscaler)
            except UserError as error:
                opened.resources.close()
                result = UpscaleResult(opened.job, error)
        seconds = time.monotonic() - start
        if result is None:
            self._pending.append(self.writing.submit(write_small, opened, frame, notes, seconds))
        else:
            self._pending.append(self.writing.submit(result._replace, seconds=seconds))

    def _upscale_large(self, opened: OpenedJob) -> UpscaleResult:
        with write_atomically(opened.job.target) as path:
            writer = opened.job.format.create(path, opened.levels.result, opened.metadata, opened.job.write)
            with leave_unfinished(writer):
                tiling = self._choose_tiling(opened, writer.is_streaming, writer.held_bytes)
                upscaler = self._create_upscaler(tiling)
                upscale_frames(upscaler, opened.levels, opened.file, writer, self.reading, self.writing, self.report)
                writer.close()
        return describe_success(opened, [*writer.notes, *self._adopt_limit(upscaler)])

    def _create_upscaler(self, tiling: Tiling) -> StripUpscaler:
        upscaler = StripUpscaler(self.model.net, self.model.color, self.ensemble, tiling)
        upscaler.limit = self._limit
        return upscaler

    def _adopt_limit(self, upscaler: StripUpscaler) -> list[str]:
        """Use the upscaler's limit for the next images, and return the note for the user if tiles had to be divided."""
        if upscaler.limit == self._limit:
            return []
        self._limit = upscaler.limit
        return [f"memory was short: tile={self._limit} from now on"]

    def _choose_tiling(self, opened: OpenedJob, is_streaming: bool, encoder_bytes: int = 0) -> Tiling:
        source, result = opened.levels.source, opened.levels.result
        is_held = opened.frame is not None or not opened.file.is_windowed
        held_source = source.height * source.width * source.pixel_bytes * is_held
        held_result = encoder_bytes
        if not is_streaming:  # a Pillow image, a NumPy array, and the encoded file
            held_result = int(2.5 * result.frames * result.height * result.width * result.pixel_bytes)
        scale, layers = self.model.scale, source.channels + source.has_alpha
        row = source.width * (2 * source.pixel_bytes + 12 * layers)
        row += scale * scale * source.width * STRIPS * (layers * result.dtype.itemsize)
        if opened.job.size or self.model.color == "y":  # in float32
            row += scale * scale * source.width * layers * 4 * 2
        is_small, is_clip = opened.frame is not None, source.frames > 1 and is_streaming
        needs = Needs(held_source, held_result, row, is_small, is_clip)
        return choose_tiling(self.model.net, opened.levels.lr_size, self.tile, self.overlap, self.budget, needs,
                             opened.levels.name)  # fmt: skip


def write_small(opened: OpenedJob, frame: Frame, notes: list[str], seconds: float) -> UpscaleResult:
    """Write the upscaled image as a whole; `seconds` have passed already."""
    start = time.monotonic()
    with opened.resources:
        try:
            with report_error(opened.levels.name), write_atomically(opened.job.target) as path:
                writer = opened.job.format.create(path, opened.levels.result, opened.metadata, opened.job.write)
                with leave_unfinished(writer):
                    writer.write(frame)
                    writer.close()
            result = describe_success(opened, [*writer.notes, *notes])
        except UserError as error:
            result = UpscaleResult(opened.job, error)
    return result._replace(seconds=seconds + time.monotonic() - start)
