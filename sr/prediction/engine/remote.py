"""Upscale files at addresses in one worker of a cluster: copy, decode, upscale, write atomically, and say what became of them."""

import contextlib
import os
import platform
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePath
from typing import NamedTuple

import psutil
import torch

from sr.checkpoint.load import LoadedNet
from sr.image.file_format import FileFormat, ReadOptions, WriteOptions
from sr.image.formats import read_suffix
from sr.image.read import open_image_file, probe
from sr.prediction.engine.address import open_store, provide_file
from sr.prediction.engine.parquet import DONE, FAILED, FULL, REFUSED, ManifestRow
from sr.prediction.engine.upscaler import UpscaleOptions
from sr.prediction.jobs import Output, create_job, require_depth
from sr.prediction.manifest import hash_file
from sr.prediction.opened_job import UpscaleJob
from sr.prediction.pipeline import iterate_upscaled
from sr.prediction.result_size import ResultSize
from sr.prediction.sources import InputImage
from sr.runtime import malloc
from sr.runtime.ahead import map_ahead
from sr.runtime.error import UserError, is_disk_full
from sr.runtime.free_memory import measure_free_memory

DOWNLOAD_ATTEMPTS = 2
FILES_AHEAD = 2  # that are copied while one is upscaled


class RemoteFile(NamedTuple):
    """An image file. `folder` is that of its result below the output, `digest` as in `parquet.ManifestRow`."""

    number: int
    address: str
    folder: str
    digest: str


class Setup(NamedTuple):
    """Hold what all workers share."""

    options: UpscaleOptions
    output: str  # address of the folder of the results
    staging: str  # local folder for incomplete results, on the same file system as a local output; empty: none
    format: FileFormat | None
    size: ResultSize
    read: ReadOptions
    write: WriteOptions
    depth: int | None
    processes: int  # on each machine, which share its memory
    version: str = sys.modules["sr"].__version__


class Fetched(NamedTuple):
    """A source with its local file, or the error of its copy."""

    source: RemoteFile
    file: Path | None
    resources: contextlib.ExitStack
    error: str = ""


class RemoteUpscaler:
    """Upscales files, with a net in memory and one thread."""

    def __init__(self, model: LoadedNet, setup: Setup, device: str = "cpu") -> None:
        version = sys.modules["sr"].__version__
        if setup.version != version:
            raise UserError(
                f"engine=ray: expected sr {setup.version} on all machines (found {version} on {platform.node()})"
            )
        torch.set_num_threads(1)
        malloc.retain_freed_memory()
        self.model, self.setup = model._replace(net=model.net.to(device)), setup
        memory = setup.options.memory
        if memory is None:
            memory = psutil.Process().memory_info().rss + measure_free_memory() // 2 // setup.processes
        self._options = {**setup.options._asdict(), "memory": memory}
        del self._options["niqe"]
        self._output = open_store(setup.output, "output")
        self._worker = f"{platform.node()}:{os.getpid()}"

    def upscale(self, sources: Sequence[RemoteFile]) -> Iterator[ManifestRow]:
        """Yield a row for each file, in their order; the next ones are copied to this machine meanwhile."""
        with ThreadPoolExecutor(1, "copy") as executor, tempfile.TemporaryDirectory(prefix="sr-") as folder:
            fetched = map_ahead(lambda source: self._fetch(source, Path(folder)), sources, executor, FILES_AHEAD)
            with contextlib.closing(fetched):
                for one in fetched:
                    with one.resources:
                        yield self._upscale(one, Path(self.setup.staging or folder))

    def _fetch(self, source: RemoteFile, folder: Path) -> Fetched:
        with contextlib.ExitStack() as stack:
            for attempt in range(DOWNLOAD_ATTEMPTS):
                try:
                    file = stack.enter_context(provide_file(source.address, folder))
                    return Fetched(source, file, stack.pop_all())
                except Exception as error:  # each store has its own
                    reason = f"{source.address}: cannot be copied ({type(error).__name__}: {error})"
                    time.sleep(attempt)
        return Fetched(source, None, contextlib.ExitStack(), reason)

    def _upscale(self, fetched: Fetched, folder: Path) -> ManifestRow:
        """Return what became of a file: its errors are those of a row."""
        source, start = fetched.source, time.monotonic()
        row = ManifestRow(source.address, source.digest, FAILED, reason=fetched.error)
        try:
            if fetched.file is not None:
                row = self._write_result(source, fetched.file, folder, row)
        except UserError as error:
            is_refused = self._is_unreadable(fetched.file)
            reason = str(error).replace(str(fetched.file), source.address)
            status = FULL if is_disk_full(error) else REFUSED if is_refused else FAILED
            row = row._replace(status=status, reason=reason)
        except Exception as error:  # of a store
            row = row._replace(
                status=FULL if is_disk_full(error) else FAILED,
                reason=f"{source.address}: cannot be upscaled ({type(error).__name__}: {error})",
            )
        return row._replace(seconds=round(time.monotonic() - start, 3), worker=self._worker, ended=time.time())

    def _write_result(self, source: RemoteFile, file: Path, folder: Path, row: ManifestRow) -> ManifestRow:
        setup, header = self.setup, probe(file, self.setup.read)
        output = Output(PurePath(), False, setup.format)
        job = create_job(InputImage(file, PurePath(source.folder)), header, output, setup.size, self.model.scale)
        require_depth([job], setup.depth)
        target = job.target.as_posix()
        folder.mkdir(parents=True, exist_ok=True)
        staged = folder / f"{uuid.uuid4().hex}{read_suffix(job.target)}"
        write = setup.write._replace(suffix=read_suffix(job.target))
        upscaled = UpscaleJob(file, staged, job.format, write, setup.depth, job.size, setup.read)
        (result,) = iterate_upscaled(self.model, [upscaled], **self._options)
        if result.error is not None:
            raise result.error
        try:
            row = row._replace(
                status=DONE, target=target, width=result.size[1], height=result.size[0], frames=result.frames,
                bytes=staged.stat().st_size, sha256=hash_file(staged), lost=tuple(result.lost), notes=tuple(result.notes),
            )  # fmt: skip
            self._output.publish(staged, target)
        finally:
            staged.unlink(missing_ok=True)
        return row

    def _is_unreadable(self, file: Path) -> bool:
        """Return True if the content of a file is to blame, so that the next attempt would fail as well."""
        try:
            with open_image_file(file, self.setup.read) as image:
                for frame in range(image.header.frames):
                    image.read(frame)
        except UserError as error:
            return not _follows_from_system(error)
        return False


def _follows_from_system(error: BaseException | None) -> bool:
    """Return True if an error is of the machine, which may be another one the next time."""
    while error is not None:
        if isinstance(error, MemoryError | ImportError) or (isinstance(error, OSError) and error.errno is not None):
            return True
        error = error.__cause__ or error.__context__
    return False
