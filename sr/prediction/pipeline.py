"""Upscale image files one after another; meanwhile the next file is read, and the last one is written."""

import contextlib
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import psutil
import torch

from sr.checkpoint.load import LoadedNet
from sr.image.file_format import FileFormat, Frame, Header, ImageFile, Metadata, WriteOptions
from sr.image.metadata import list_lost_parts
from sr.image.read import open_image_file
from sr.image.write import write_atomically
from sr.inference.footprint import Needs, choose_tiling
from sr.inference.memory import report_out_of_memory
from sr.inference.strip import StripUpscaler, Tiling
from sr.prediction.api import SPLIT
from sr.prediction.levels import Levels
from sr.prediction.stream import describe_result, upscale_batch, upscale_decoded, upscale_frames
from sr.runtime.ahead import map_ahead
from sr.runtime.error import UserError
from sr.runtime.free_memory import measure_free_memory

FILES_AHEAD = 8  # that are open
SMALL_PIXELS = 1 << 20  # LR pixels of an image that is decoded ahead
BATCH_PIXELS = 1 << 14  # LR pixels of small images that are upscaled at once
STRIPS = 5  # copies of a strip of the result: one that grows, one that is encoded, what the encoder needs


class UpscaleJob(NamedTuple):
    """An image, and the file that its result is written to."""

    source: Path | bytes
    target: Path
    format: FileFormat
    write: WriteOptions = WriteOptions()
    depth: int | None = None  # bits of the result: 8, 16 or 32 (float); None: as the source
    size: tuple[int, int] | None = None  # height and width of the result; None: scale times the source's


class UpscaleResult(NamedTuple):
    """The result of a job; without an `error` its target has been written completely."""

    job: UpscaleJob
    error: UserError | None = None
    seconds: float = 0.0
    size: tuple[int, int] = (0, 0)  # height and width of the result
    frames: int = 0
    lost: list[str] = []  # noqa: RUF012  what the source has and the result has not; never changed in place
    notes: list[str] = []  # noqa: RUF012  what else a user should know


class OpenedJob(NamedTuple):
    """A job whose source is open, or the `error` that it has led to."""

    job: UpscaleJob
    levels: Levels | None = None
    file: ImageFile | None = None
    metadata: Metadata = Metadata()
    lost: list[str] = []  # noqa: RUF012  never changed in place
    frame: Frame | None = None  # of a small image
    resources: contextlib.ExitStack = contextlib.ExitStack()
    error: UserError | None = None

    @property
    def batch_key(self) -> tuple[object, ...] | None:
        """The properties that images of one batch share; None: the image is upscaled alone."""
        if self.frame is None or self.job.size is not None or self.levels.source.channels not in (1, 3):
            return None
        source, result = self.levels.source, self.levels.result
        if 2 * source.height * source.width > BATCH_PIXELS:
            return None
        return (*source._replace(format="", has_alpha=False), *result._replace(format="", has_alpha=False))


def iterate_upscaled(
    model: LoadedNet,
    jobs: Iterable[UpscaleJob],
    *,
    ensemble: bool = False,
    tile: int | None = None,
    overlap: int | None = None,
    memory: int | None = None,
) -> Iterator[UpscaleResult]:
    """Upscale the images, and yield the results in the order of the jobs.

    Args:
        model: of `sr.load`.
        jobs: they may come from a generator; it is read a few images ahead.
        ensemble: average over the eight flips and rotations.
        tile: side of a tile in LR pixels; None: chosen by `memory`.
        overlap: LR pixels that each tile sees beyond itself; None: as far as the net sees.
        memory: bytes that the process may use; None: half of what is free.

    Yields:
        A result for each job. An image that cannot be upscaled has an `error`, and the others go on. A target is complete
        or does not exist: it is written under a temporary name in its folder.
    """
    in_use = psutil.Process().memory_info().rss
    budget = measure_free_memory() // 2 if memory is None else memory - in_use
    with ThreadPoolExecutor(1, "read") as reading, ThreadPoolExecutor(1, "write") as writing, torch.no_grad():
        pipeline = Pipeline(model, ensemble, tile, overlap, budget, reading, writing)
        opened = map_ahead(partial(open_job, model), jobs, reading, FILES_AHEAD)
        with contextlib.closing(opened):
            try:
                yield from pipeline.iterate_results(opened)
            except KeyboardInterrupt:  # what is computed already is written and reported first
                yield from pipeline.iterate_pending(0)
                raise


def open_job(model: LoadedNet, job: UpscaleJob) -> OpenedJob:
    """Open the source of a job, decode it if it is small, and find out what its result can hold."""
    name = name_source(job)
    with contextlib.ExitStack() as stack:
        try:
            with report_error(name):
                file = stack.enter_context(open_image_file(stack.enter_context(provide_path(job.source))))
                wanted = describe_result(file.header, model, job.depth, job.size)
                result = job.format.limit_header(wanted)
                metadata, lost = select_metadata(file.metadata, file.header, result)
                lost = [*list_lost_parts(file, result, job.format.held), *lost]
                is_small = file.header.height * file.header.width <= SMALL_PIXELS and file.header.frames == 1
                frame = file.read() if is_small else None
        except UserError as error:
            return OpenedJob(job, error=error)
        levels = Levels(model, file.header, result, name)
        return OpenedJob(job, levels, file, metadata, lost, frame, stack.pop_all())


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
    ) -> None:
        self.model, self.ensemble, self.tile, self.overlap, self.budget = model, ensemble, tile, overlap, budget
        self.reading, self.writing = reading, writing
        self._limit: int | None = None  # side of the largest tile that memory has sufficed for
        self._pending: deque[Future[UpscaleResult]] = deque()

    def iterate_results(self, opened_jobs: Iterable[OpenedJob]) -> Iterator[UpscaleResult]:
        """Yield the results in order; images of one size that follow one another are upscaled in batches."""
        batch: list[OpenedJob] = []
        for opened in opened_jobs:
            if batch and (opened.batch_key != batch[0].batch_key or len(batch) >= _count_images(batch[0])):
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

    def iterate_pending(self, count: int) -> Iterator[UpscaleResult]:
        """Yield results that are complete, and wait until not more than `count` are not."""
        while self._pending and (len(self._pending) > count or self._pending[0].done()):
            yield self._pending.popleft().result()

    def _upscale_batch(self, batch: list[OpenedJob]) -> None:
        """Upscale images of one size at once; one by one if that fails."""
        if len(batch) == 1:
            self._upscale_alone(batch[0])
            return
        start = time.monotonic()
        upscaler = self._create_upscaler(Tiling(*batch[0].levels.lr_size, margin=0))
        try:
            frames = upscale_batch(upscaler, [one.levels for one in batch], [one.frame for one in batch])
        except (UserError, RuntimeError, MemoryError):  # of one of them
            for one in batch:
                self._upscale_alone(one)
            return
        seconds = (time.monotonic() - start) / len(batch)
        for one, frame in zip(batch, frames, strict=True):
            self._pending.append(self.writing.submit(write_small, one, frame, seconds))

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
                        self._limit = upscaler.limit
            except UserError as error:
                opened.resources.close()
                result = UpscaleResult(opened.job, error)
        seconds = time.monotonic() - start
        if result is None:
            self._pending.append(self.writing.submit(write_small, opened, frame, seconds))
        else:
            self._pending.append(self.writing.submit(result._replace, seconds=seconds))

    def _upscale_large(self, opened: OpenedJob) -> UpscaleResult:
        with write_atomically(opened.job.target) as path:
            writer = opened.job.format.create(path, opened.levels.result, opened.metadata, opened.job.write)
            upscaler = self._create_upscaler(self._choose_tiling(opened, writer.is_streaming))
            upscale_frames(upscaler, opened.levels, opened.file, writer, self.reading, self.writing)
            writer.close()
        notes = []
        if upscaler.limit != self._limit:
            self._limit = upscaler.limit
            notes.append(f"memory was short: tile={self._limit} from now on")
        return describe_success(opened, notes)

    def _create_upscaler(self, tiling: Tiling) -> StripUpscaler:
        upscaler = StripUpscaler(self.model.net, self.model.color, self.ensemble, tiling)
        upscaler.limit = self._limit
        return upscaler

    def _choose_tiling(self, opened: OpenedJob, is_streaming: bool) -> Tiling:
        source, result = opened.levels.source, opened.levels.result
        is_held = opened.frame is not None or not opened.file.is_windowed
        whole = source.height * source.width * source.pixel_bytes * is_held
        if not is_streaming:  # a Pillow image, a NumPy array, and the encoded file
            whole += int(2.5 * result.frames * result.height * result.width * result.pixel_bytes)
        scale, layers = self.model.scale, source.channels + source.has_alpha
        row = source.width * (2 * source.pixel_bytes + 12 * layers)
        row += scale * scale * source.width * STRIPS * (layers * result.dtype.itemsize)
        if opened.job.size or self.model.color == "y":  # in float32
            row += scale * scale * source.width * layers * 4 * 2
        needs = Needs(whole, row)
        return choose_tiling(self.model.net, opened.levels.lr_size, self.tile, self.overlap, self.budget, needs,
                             opened.levels.name)  # fmt: skip


def _count_images(opened: OpenedJob) -> int:
    """Return the largest number of images of one batch."""
    return BATCH_PIXELS // (opened.levels.source.height * opened.levels.source.width)


def write_small(opened: OpenedJob, frame: Frame, seconds: float) -> UpscaleResult:
    """Write the upscaled image as a whole; `seconds` have passed already."""
    start = time.monotonic()
    with opened.resources:
        try:
            with report_error(opened.levels.name), write_atomically(opened.job.target) as path:
                writer = opened.job.format.create(path, opened.levels.result, opened.metadata, opened.job.write)
                writer.write(frame)
                writer.close()
            result = describe_success(opened, [])
        except UserError as error:
            result = UpscaleResult(opened.job, error)
    return result._replace(seconds=seconds + time.monotonic() - start)


def describe_success(opened: OpenedJob, notes: list[str]) -> UpscaleResult:
    """Return the result of a job whose target is written."""
    result = opened.levels.result
    return UpscaleResult(opened.job, None, 0.0, (result.height, result.width), result.frames, opened.lost, notes)


def name_source(job: UpscaleJob) -> str:
    """Return what messages call the source."""
    return "stdin" if isinstance(job.source, bytes) else str(job.source)


@contextlib.contextmanager
def report_error(name: str) -> Iterator[None]:
    """Raise a `UserError` that names the image for every error: one odd image must not end the batch."""
    try:
        with report_out_of_memory(f"{name}: this image", SPLIT):
            yield
    except UserError:
        raise
    except Exception as error:
        reason = str(error).partition("\n")[0] or "no message"
        raise UserError(f"{name}: cannot be upscaled ({type(error).__name__}: {reason}); remove it") from error


@contextlib.contextmanager
def provide_path(source: Path | bytes) -> Iterator[Path]:
    """Give a path to an image that is bytes, for the block."""
    if isinstance(source, Path):
        yield source
        return
    with tempfile.TemporaryDirectory(prefix="sr-") as folder:
        path = Path(folder, "stdin")
        path.write_bytes(source)
        yield path


def select_metadata(metadata: Metadata, source: Header, result: Header) -> tuple[Metadata, list[str]]:
    """Return the metadata of a result, and what of the source's is not in it: a profile of RGB does not fit gray."""
    if metadata.icc is None or source.channels == result.channels:
        return metadata, []
    return metadata._replace(icc=None), ["color profile of RGB"]
