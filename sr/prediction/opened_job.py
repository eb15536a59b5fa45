"""One image file on its way through prediction: what is asked for, the open files, the result, and its errors."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sr.checkpoint.load import LoadedNet
from sr.image.file_format import (
    READ_ALL,
    FileFormat,
    Frame,
    Header,
    ImageFile,
    ImageWriter,
    Metadata,
    ReadOptions,
    WriteOptions,
)
from sr.image.metadata import list_lost_parts
from sr.image.read import open_image_file
from sr.inference.memory import report_out_of_memory
from sr.prediction.api import SPLIT
from sr.prediction.levels import Levels, require_bands
from sr.prediction.stream import describe_result
from sr.runtime.error import UserError

BATCH_PIXELS = 1 << 14  # LR pixels of small images that are upscaled at once
SMALL_PIXELS = 1 << 20  # LR pixels of an image that is decoded ahead


class UpscaleJob(NamedTuple):
    """An image, and the file that its result is written to."""

    source: Path | bytes
    target: Path
    format: FileFormat
    write: WriteOptions = WriteOptions()
    depth: int | None = None  # bits of the result: 8, 16 or 32 (float); None: as the source
    size: tuple[int, int] | None = None  # height and width of the result; None: scale times the source's
    read: ReadOptions = READ_ALL
    chunk: int = 0  # images of another one are not in a batch with it


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
        return (
            self.job.chunk,
            *source._replace(format="", has_alpha=False),
            *result._replace(format="", has_alpha=False),
        )


def open_job(model: LoadedNet, job: UpscaleJob) -> OpenedJob:
    """Open the source of a job, decode it if it is small, and find out what its result can hold."""
    name = name_source(job)
    with contextlib.ExitStack() as stack:
        try:
            with report_error(name):
                file = stack.enter_context(open_image_file(stack.enter_context(provide_path(job.source)), job.read))
                require_bands(model, file.header, name)
                wanted = describe_result(file.header, model, job.depth, job.size)
                result = job.format.limit_header(wanted)
                result = result._replace(has_mask=wanted.has_mask and job.format.holds_mask)
                metadata, lost = select_metadata(file.metadata, file.header, result)
                lost = [*list_lost_parts(file, result, job.format.held), *lost]
                frame = file.read() if is_small(file.header) else None
        except UserError as error:
            return OpenedJob(job, error=error)
        levels = Levels(model, file.header, result, name)
        return OpenedJob(job, levels, file, metadata, lost, frame, stack.pop_all())


def count_images(opened: OpenedJob) -> int:
    """Return the largest number of images of one batch."""
    return BATCH_PIXELS // (opened.levels.source.height * opened.levels.source.width)


def is_small(header: Header) -> bool:
    """Return True for an image that is decoded and upscaled as a whole, not strip by strip."""
    return header.height * header.width <= SMALL_PIXELS and header.frames == 1


@contextlib.contextmanager
def leave_unfinished(writer: ImageWriter) -> Iterator[None]:
    """Let the writer leave what it has for the next start after an error, unless the image is to blame."""
    try:
        yield
    except UserError:
        writer.discard()
        raise
    except BaseException:
        writer.suspend()
        raise


def describe_success(opened: OpenedJob, notes: list[str]) -> UpscaleResult:
    """Return the result of a job whose target is written."""
    levels, result = opened.levels, opened.levels.result
    bands = ["bands are upscaled one by one, as gray images"] * (
        levels.has_bands and levels.source.channels not in (1, 3)
    )
    notes = [*bands, *opened.file.notes, *notes]
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
