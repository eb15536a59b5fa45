"""Read the headers of a set of images, and check that their pixels are of one type."""

import contextlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from sr.data.cache import Cache
from sr.data.file_digest import FileState
from sr.data.file_errors import FileError
from sr.data.image_part import Image, find_path, probe_image
from sr.data.remembered import Value
from sr.image.file_format import Header
from sr.image.levels import WHITE, count_bits
from sr.runtime.error import UserError

KIND = f"header 1 {' '.join(Header._fields)}"  # of remembered values: a state and a JSON list


def read_headers(images: Sequence[Image], cache: Cache | None = None) -> list[Header]:
    """Read the headers of all images, in parallel; those of files that `cache` remembers are not read again.

    Raises one `FileError` that lists every error.
    """
    states, found = _find_remembered(images, cache)

    def try_probe(image: Image) -> Header | UserError:
        try:
            return probe_image(image)
        except UserError as error:
            return error

    missing = [image for image in images if image not in found]
    with ThreadPoolExecutor() as pool:
        results = dict(zip(missing, pool.map(try_probe, missing), strict=True))
    errors = [str(header) for header in results.values() if isinstance(header, UserError)]
    if errors:
        raise FileError("\n".join(dict.fromkeys(errors)))
    if cache is not None:
        settled = {image: state for image, state in states.items() if image in results and state.is_settled}
        cache.remembered.store(
            KIND, {str(image.absolute()): _encode(results[image], state) for image, state in settled.items()}
        )
    found |= results
    return [found[image] for image in images]


def _find_remembered(images: Sequence[Image], cache: Cache | None) -> tuple[dict[Path, FileState], dict[Image, Header]]:
    """Return the state of each whole file that exists, and the headers that are remembered of it in this state."""
    states: dict[Path, FileState] = {}
    for image in images if cache is not None else ():
        if isinstance(image, Path):
            with contextlib.suppress(OSError):
                states[image] = FileState(image)
    records = cache.remembered.find(KIND, [str(image.absolute()) for image in states]) if states else {}
    decoded = {image: _decode(records.get(str(image.absolute()), ""), state) for image, state in states.items()}
    return states, {image: header for image, header in decoded.items() if header is not None}


def _encode(header: Header, state: FileState) -> str:
    """Return the text of a header, of a file in this state."""
    values = header._replace(dtype=str(header.dtype).removeprefix("torch."))
    return f"{state.text} {json.dumps(values)}"


def _decode(record: Value, state: FileState) -> Header | None:
    """Return the header of a text; None if it is of another state, or damaged."""
    text = str(record)
    if not text.startswith(f"{state.text} "):
        return None
    try:
        header = Header(*json.loads(text[len(state.text) + 1 :]))
        return header._replace(dtype=getattr(torch, header.dtype), grows=tuple(header.grows))
    except (ValueError, TypeError, AttributeError):
        return None


def find_dtype(images: Sequence[Image], headers: Sequence[Header]) -> torch.dtype:
    """Return the type of the pixels of a set. Raises one `FileError` that lists the files of the rarer depth.

    A file whose pixels are neither uint8 nor uint16 is an error when it is decoded.
    """
    paths = list(map(find_path, images))
    files = {dtype: [p for p, x in zip(paths, headers, strict=True) if x.dtype == dtype] for dtype in WHITE}
    rarer, other = sorted(files, key=lambda dtype: len(files[dtype]))
    if files[rarer]:
        count, bits = len(files[other]), count_bits(other)
        raise FileError(
            "\n".join(
                f"{path}: {count_bits(rarer)} bits per channel, but {count} file(s) of the set have {bits}; convert them to "
                f"one depth, for their values would not be comparable"
                for path in files[rarer]
            )
        )
    return other
