"""Upscale image files one after another: read, upscale and write each of them, and report what became of it."""

import contextlib
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from sr.checkpoint.load import LoadedNet
from sr.image.file_format import FileFormat, Header, Metadata, WriteOptions
from sr.inference.memory import report_out_of_memory
from sr.prediction.api import SPLIT
from sr.prediction.stream import StreamOptions, describe_result, upscale_frames
from sr.runtime.error import UserError


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
        jobs: they may come from a generator; it is read as images are needed.
        ensemble: average over the eight flips and rotations.
        tile: side of a tile in LR pixels; None: chosen by `memory`.
        overlap: LR pixels that each tile sees beyond itself; None: as far as the net sees.
        memory: bytes that the process may use; None: half of what is free.

    Yields:
        A result for each job. An image that cannot be upscaled has an `error`, and the others go on. A target is complete
        or does not exist: it is written under a temporary name in its folder.
    """
    options = StreamOptions(ensemble, tile, overlap, memory)
    for job in jobs:
        yield _upscale_job(model, job, options)


def _upscale_job(model: LoadedNet, job: UpscaleJob, options: StreamOptions) -> UpscaleResult:
    start, name = time.monotonic(), "stdin" if isinstance(job.source, bytes) else str(job.source)
    try:
        with report_out_of_memory(f"{name}: this image", SPLIT):
            result = _upscale_file(model, job, options, name)
    except UserError as error:
        return UpscaleResult(job, error, time.monotonic() - start)
    except Exception as error:  # one odd image must not end the batch
        reason = str(error).partition("\n")[0] or "no message"
        text = f"{name}: cannot be upscaled ({type(error).__name__}: {reason}); remove it"
        return UpscaleResult(job, UserError(text), time.monotonic() - start)
    return result._replace(seconds=time.monotonic() - start)


def _upscale_file(model: LoadedNet, job: UpscaleJob, options: StreamOptions, name: str) -> UpscaleResult:
    from sr.image.read import open_image_file

    with _provide_path(job.source) as source, open_image_file(source) as file, _write_atomically(job.target) as path:
        wanted = describe_result(file.header, model, job.depth, job.size)
        header = job.format.limit_header(wanted)
        metadata, lost = _select_metadata(file.metadata, file.header, header)
        writer = job.format.create(path, header, metadata, job.write)
        upscale_frames(model, file, writer, header, options, name)
        writer.close()
    size = (header.height, header.width)
    return UpscaleResult(job, None, 0.0, size, header.frames, lost, _describe_limits(wanted, header, job.format))


@contextlib.contextmanager
def _provide_path(source: Path | bytes) -> Iterator[Path]:
    """Give a path to an image that is bytes, for the block."""
    if isinstance(source, Path):
        yield source
        return
    with tempfile.TemporaryDirectory(prefix="sr-") as folder:
        path = Path(folder, "stdin")
        path.write_bytes(source)
        yield path


@contextlib.contextmanager
def _write_atomically(target: Path) -> Iterator[Path]:
    """Give the block a temporary path in the folder of `target`, and rename it afterwards; remove it after an error."""
    # Another process may write to the same folder, and `target` may be as long as a name can be.
    temporary = target.with_name(f".{uuid.uuid4().hex}.part")
    try:
        yield temporary
        temporary.replace(target)
    except OSError as error:
        raise UserError(f"{target}: cannot be written ({error.strerror or error})") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _select_metadata(metadata: Metadata, source: Header, result: Header) -> tuple[Metadata, list[str]]:
    """Return the metadata of a result, and what of the source's is not in it: a profile of RGB does not fit gray."""
    if metadata.icc is None or source.channels == result.channels:
        return metadata, []
    return metadata._replace(icc=None), ["color profile of RGB"]


def _describe_limits(wanted: Header, result: Header, file_format: FileFormat) -> list[str]:
    """Return what the format of the result cannot hold."""
    name, notes = file_format.name, []
    if result.frames < wanted.frames:
        notes.append(f"{result.frames} of {wanted.frames} frames: {name} holds no more")
    if wanted.has_alpha and not result.has_alpha:
        notes.append(f"no alpha channel: {name} has none")
    if result.dtype.itemsize < wanted.dtype.itemsize:
        notes.append(f"{8 * result.dtype.itemsize} instead of {8 * wanted.dtype.itemsize} bits: {name} holds no more")
    return notes
