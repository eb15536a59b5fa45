"""Decide which file each image is upscaled into, and in which format."""

import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from sr.image.file_format import FileFormat, Header
from sr.image.formats import KINDS_BY_SUFFIX, find_format, list_names, read_suffix
from sr.prediction.result_size import ResultSize
from sr.prediction.sources import InputImage, format_name, format_names
from sr.runtime.error import UserError

MAX_NAMES = 5  # of files in a message
MAX_NAME_BYTES = 255  # of file systems
FILE_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,4}")  # `.txt`, but not the `.5` of a folder `sharpness_0.5`


class Output(NamedTuple):
    """The options `output` and `format`."""

    path: Path | None  # None: each result is written next to its source
    is_file: bool  # it is the only result, and not the folder of results
    format: FileFormat | None  # of all results; None: that of each source
    is_stdout: bool = False  # `path` is a temporary file, whose content goes to standard output

    @property
    def option(self) -> str:
        """The option as it is typed."""
        return f"output={'null' if self.path is None else self.path}"


class ProbedImage(NamedTuple):
    """A source and its header."""

    source: InputImage
    header: Header


class Job(NamedTuple):
    """An image file, and the file that its result is written to."""

    source: Path
    target: Path
    format: FileFormat  # of the target
    header: Header  # of the source
    size: tuple[int, int] | None  # height and width of the result; None: the network's scale times the source's

    def compute_size(self, scale: int) -> tuple[int, int]:
        """Return height and width of the result of a network of this scale."""
        return self.size or (scale * self.header.height, scale * self.header.width)

    def count_pixels(self, scale: int) -> int:
        """Return the pixels of the result, of all frames."""
        height, width = self.compute_size(scale)
        return height * width * self.header.frames


class Failure(NamedTuple):
    """An image that cannot be upscaled, and why."""

    source: Path
    error: UserError


def resolve_output(output: str | None, format: str | None, count: int, stdout: Path | None = None) -> Output:
    """Return what the options `output` and `format` mean for `count` images; nothing is created.

    A name such as `big.png` is a file, unless it is a folder already or ends with a slash. `stdout` is the file in place of
    standard output, if the result goes there. Raises `UserError` if a single image would get a folder named as a file,
    `big.pgn`.
    """
    chosen = None if format is None else require_writable(find_format(format), f"format={format}")
    if stdout:
        return Output(stdout, True, chosen, is_stdout=True)
    if output is None:
        return Output(None, False, chosen)
    path = Path(output).expanduser()
    by_suffix = KINDS_BY_SUFFIX.get(read_suffix(path))
    if os.path.isdir(path) or output.endswith(("/", os.sep)) or by_suffix is None:  # noqa: PTH112
        if os.path.lexists(path) and not os.path.isdir(path):  # noqa: PTH112
            raise UserError(
                f"output={output}: expected a folder, or the name of an image file for a single image (found another file)"
            )
        is_new = not output.endswith(("/", os.sep)) and not os.path.isdir(path)  # noqa: PTH112
        if count == 1 and is_new and FILE_SUFFIX.fullmatch(path.suffix):
            formats = ", ".join(name for name in list_names() if find_format(name).can_write)
            raise UserError(
                f"output={output}: expected a file of {formats}, or a folder (found the suffix {path.suffix}); a folder of this "
                f"name is output={output}/"
            )
        return Output(path, False, chosen)
    if count > 1:
        raise UserError(
            f"output={output}: expected a folder for {count} images (found the name of a file); a folder of this name "
            f"is output={output}/"
        )
    try:
        named = require_writable(find_format(read_suffix(path)), f"output={output}")
    except UserError:
        raise UserError(
            f"output={output}: {by_suffix} files are not written; choose another suffix, or a folder: output={output}/"
        ) from None
    if chosen and chosen.name != named.name:
        raise UserError(
            f"output={output} format={format}: expected one format (found {named.name} and {chosen.name}); leave format out"
        )
    return Output(path, True, named)


def require_writable(file_format: FileFormat, typed: str) -> FileFormat:
    """Return a format if files of it can be written."""
    if not file_format.can_write:
        raise UserError(f"{typed}: {file_format.name} files are read only; choose png, jpeg or tiff")
    return file_format


def list_jobs(
    images: Sequence[ProbedImage], output: Output, result_size: ResultSize, scale: int
) -> tuple[list[Job], list[Failure]]:
    """Return the jobs, and the images that cannot have a result.

    Raises a `UserError` if two images would get one target, also where capital and small letters are the same, or one
    would replace another.
    """
    jobs, failures = [], []
    for source, header in images:
        try:
            jobs.append(create_job(source, header, output, result_size, scale))
        except UserError as error:
            failures.append(Failure(source.path, error))
    _require_no_source(jobs, output)
    targets: dict[str, Job] = {}
    for job in jobs:
        key = unicodedata.normalize("NFC", str(job.target)).casefold()
        if key in targets:
            first = targets[key]
            is_near = first.source.parent == job.source.parent
            names = [format_name(path.name if is_near else path) for path in (first.source, job.source)]
            result = format_name(job.target.name)
            raise UserError(
                f"{names[0]} and {names[1]} would both become {result}: rename one, or upscale them separately"
            )
        targets[key] = job
    return jobs, failures


def require_new(targets: Iterable[Path], output: Output) -> None:
    """Raise if a target exists."""
    existing = [format_name(target.name) for target in targets if os.path.lexists(target)]
    if existing:
        verb, them = ("exists", "it") if len(existing) == 1 else ("exist", "them")
        names = format_names(existing, MAX_NAMES)
        raise UserError(f"{output.option}: {names} {verb} already; overwrite=true replaces {them}")


def create_folders(jobs: Iterable[Job], output: Output) -> None:
    """Create the folders of the results, and raise if nothing can be written to one of them."""
    for folder in dict.fromkeys(job.target.parent for job in jobs):
        typed = f"output={folder}" if output.path else f"output=null: {format_name(folder)}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{typed}: cannot create this folder ({error.strerror or error})") from None
        if not os.access(folder, os.W_OK):
            advice = "" if output.path else "; choose another one: output=FOLDER"
            raise UserError(f"{typed}: expected a folder that may be written to (found one that is read-only){advice}")


def require_quality(jobs: Sequence[Job], quality: int | None) -> None:
    """Raise if no result has a format that `quality` is for."""
    if quality is not None and jobs and not any(job.format.has_quality for job in jobs):
        names = ", ".join(dict.fromkeys(job.format.name for job in jobs))
        raise UserError(
            f"quality={quality}: expected a lossy format of images (found {names}); choose format=jpeg, webp or avif, or leave "
            "it out (videos have crf=)"
        )


def require_video(jobs: Sequence[Job], codec: str | None, crf: int | None) -> None:
    """Raise if no result is a video, which `codec` and `crf` are for."""
    typed = f"codec={codec}" if codec is not None else f"crf={crf}"
    if jobs and (codec is not None or crf is not None) and not any(job.format.family for job in jobs):
        names = ", ".join(dict.fromkeys(job.format.name for job in jobs))
        raise UserError(f"{typed}: expected a video (found {names}); leave it out")


def require_depth(jobs: Sequence[Job], depth: int | None) -> None:
    """Raise if a format cannot hold the bits that `depth` asks for."""
    native = [job for job in jobs if job.format.is_native]
    if depth is not None and native:
        raise UserError(
            f"depth={depth}: {native[0].format.name} has the bits of its source ({format_name(native[0].target)}); "
            "leave it out, or choose format=png"
        )
    if depth != 16:  # every format holds 8
        return
    for job in {job.format.name: job for job in jobs}.values():
        wanted = job.header._replace(dtype=torch.uint16, black=0.0, white=65535.0)
        if job.format.limit_header(wanted).dtype != torch.uint16:
            raise UserError(
                f"depth=16: expected a format of 16 bits (found {job.format.name}, of {format_name(job.target)}); "
                "choose format=png or format=tiff"
            )


def create_job(source: InputImage, header: Header, output: Output, result_size: ResultSize, scale: int) -> Job:
    """Return the job of an image. Raise `UserError` if its result cannot be written or has no size or name."""
    file_format = output.format or _choose_format(header)
    if file_format.name == "TIFF" and header.format == "GeoTIFF":
        file_format = find_format("geotiff")
    if file_format.is_native and header.format not in (file_format.name, *file_format.family):
        family = " and ".join(file_format.family or [file_format.name])
        raise UserError(
            f"{format_name(source.path)}: {file_format.name} is made of {family} only "
            f"(found {header.format}); choose format=png or format=tiff"
        )
    size = result_size.fit_network(header, scale)
    height, width = size or (scale * header.height, scale * header.width)
    file_format.limit_header(header._replace(height=height, width=width))  # raises if it is too large for the format
    if output.is_file:
        target = output.path
    else:
        name = source.path.name
        own = name[len(name) - len(read_suffix(source.path)) :]
        suffix = own if own.lower() in file_format.suffixes else file_format.suffixes[0]
        stem = name.removesuffix(own) if KINDS_BY_SUFFIX.get(own.lower()) else name
        folder = source.path.parent if output.path is None else output.path / source.folder
        target = folder / f"{stem}{result_size.format_suffix(scale)}{suffix}"
    length = len(os.fsencode(target.name))
    if length > MAX_NAME_BYTES:
        raise UserError(
            f"{format_name(source.path)}: the name of its result would be {length} bytes long, and {MAX_NAME_BYTES} is the "
            "limit; rename it, or name the result: output=FILE"
        )
    return Job(source.path, target, file_format, header, size)


def _choose_format(header: Header) -> FileFormat:
    """Return the format of the source, or if it cannot be written, JPEG or PNG, whichever holds all of it."""
    own = find_format(header.format)
    if own.can_write:
        return own
    return find_format("jpeg" if header.dtype == torch.uint8 and not header.has_alpha and header.frames == 1 else "png")


def _require_no_source(jobs: Sequence[Job], output: Output) -> None:
    """Raise if a target is an image that is to be upscaled, which would be lost; not even `overwrite` replaces that."""
    sources = {os.path.realpath(job.source): job.source for job in jobs}
    for job in jobs:
        replaced = sources.get(os.path.realpath(job.target))
        if replaced is not None:
            raise UserError(
                f"{output.option}: expected another file than input={format_name(replaced)}, which would be replaced by the "
                f"result of {format_name(job.source.name)}; choose another output, or remove that file if it is a result"
            )
