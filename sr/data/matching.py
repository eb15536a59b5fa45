"""LR and HR files that belong together, matched by name and checked by their headers."""

import re
from collections.abc import Callable, Container, Sequence
from pathlib import Path

from sr.data.file_errors import FileError
from sr.image.levels import count_bits
from sr.image.read import probe
from sr.runtime.error import UserError


def match_files(hr: Sequence[Path], lr: Sequence[Path], scale: int) -> tuple[list[Path], list[Path]]:
    """Return the HR files and, in the same order, the LR file of each.

    Raises one `FileError` for all files without a counterpart, damaged files, and pairs of wrong sizes, color modes or depths.
    """
    errors: list[str] = []
    hr_by_name = _index_by_name(hr, lambda stem: stem, errors)
    lr_by_name = _index_by_name(lr, lambda stem: find_hr_name(stem, hr_by_name, scale), errors)
    errors += [f"{lr_by_name[name]}: no HR image of this name" for name in lr_by_name if name not in hr_by_name]
    errors += [f"{hr_by_name[name]}: no LR image of this name" for name in hr_by_name if name not in lr_by_name]
    names = [name for name in hr_by_name if name in lr_by_name]
    for name in names:
        errors += _check_pair(lr_by_name[name], hr_by_name[name], scale)
    if errors:
        raise FileError(f"LR and HR files do not match, {len(errors)} error(s) found:\n" + "\n".join(errors))
    return [hr_by_name[name] for name in names], [lr_by_name[name] for name in names]


def find_hr_name(stem: str, hr: Container[str], scale: int) -> str:
    """Return the name of the HR file that an LR file belongs to: `stem` itself, or without `x2`, `_x2` or `-x2` (the
    scale) at its end."""
    return stem if stem in hr else re.sub(rf"[-_]?x{scale}$", "", stem, flags=re.IGNORECASE)


def _check_pair(lr: Path, hr: Path, scale: int) -> list[str]:
    """Compare the headers of two files; return what is wrong with them."""
    headers, errors = [], []
    for path in (lr, hr):
        try:
            headers.append(probe(path))
        except UserError as error:
            errors.append(str(error))
    if errors:
        return errors
    (h, w, kind, frames), (hr_h, hr_w, hr_kind, hr_frames) = (header[:4] for header in headers)
    if (hr_h // scale, hr_w // scale) != (h, w):
        expected = f"{hr_w // scale}×{hr_h // scale}"
        return [f"{lr}: {w}×{h}, but {hr.name} is {hr_w}×{hr_h}: at scale={scale}, {expected} was expected"]
    if kind != hr_kind:
        return [f"{lr}: {kind}, but {hr.name} is {hr_kind}: convert one of them"]
    if headers[0].dtype != headers[1].dtype:
        bits, hr_bits = (count_bits(header.dtype) for header in headers)
        return [f"{lr}: {bits} bits per channel, but {hr.name} has {hr_bits}: convert one of them"]
    if frames != hr_frames:
        return [f"{lr}: {frames} frame(s) or page(s), but {hr.name} has {hr_frames}: save them as files of their own"]
    return []


def _index_by_name(paths: Sequence[Path], name: Callable[[str], str], errors: list[str]) -> dict[str, Path]:
    """Index files by the name of their pair, made from their stem by `name`; a second file of a name is an error."""
    files: dict[str, Path] = {}
    for path in paths:
        first = files.setdefault(name(path.stem), path)
        if first is not path:
            errors.append(f"{path}: belongs to the same pair as {first.name}; remove one of them")
    return files
