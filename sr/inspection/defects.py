"""Decode every file of a set to its last byte: find damage, formats that are not read, images that are too small or unusual."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image
from tqdm import tqdm

from sr.image.read import DecodedImage, read_image
from sr.inspection.finding import Finding
from sr.runtime.error import UserError

THUMBNAIL_SIDE = 256  # pixels of the longer side of the small gray copy used for hashes and registration


class FileReport(NamedTuple):
    """The properties of a file. If `error` says why it could not be read, the rest is empty."""

    path: Path
    error: str = ""
    height: int = 0  # upright
    width: int = 0
    oddity: str = ""  # palette, alpha, or nothing
    gray: bool = False
    digest: str = ""  # of the decoded pixels: the same for two files of the same image
    small: Image.Image | None = None  # gray, at most `THUMBNAIL_SIDE` pixels long

    @property
    def name(self) -> str:
        return self.path.name


def inspect_files(paths: Sequence[Path], title: str) -> list[FileReport]:
    """Decode all files, in parallel, with a progress bar; a damaged file raises no error."""
    with ThreadPoolExecutor() as pool:
        bar = tqdm(pool.map(_inspect_file, paths), total=len(paths), desc=f"decoding {title}", unit="image", delay=1)
        return list(bar)


def _inspect_file(path: Path) -> FileReport:
    try:
        decoded = read_image(path)
        with Image.open(path) as image:
            has_palette = image.mode in ("P", "PA")
    except UserError as error:
        return FileReport(path, str(error).removeprefix(f"{path}: "))
    except Exception as error:  # bad bytes may trigger a decoder's own bug; it must not end the inspection
        return FileReport(path, f"cannot be decoded ({type(error).__name__}: {error})")
    height, width = decoded.pixels.shape[1:]
    oddity = "palette" if has_palette else "alpha" if decoded.alpha is not None else ""
    rgb = decoded.pixels.expand(3, -1, -1).numpy().tobytes()
    digest = hashlib.sha256(bytes(f"{height}×{width}", "utf-8") + rgb).hexdigest()
    return FileReport(path, "", height, width, oddity, decoded.pixels.shape[0] == 1, digest, _make_thumbnail(decoded))


def _make_thumbnail(decoded: DecodedImage) -> Image.Image:
    """Convert to gray, and downscale if larger than `THUMBNAIL_SIDE`."""
    pixels = decoded.pixels.permute(1, 2, 0).numpy()
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).convert("L")
    factor = min(1.0, THUMBNAIL_SIDE / max(image.size))
    size = tuple(max(1, round(n * factor)) for n in image.size)
    return image.resize(size, Image.Resampling.LANCZOS) if factor < 1 else image


def find_defects(reports: Sequence[FileReport], where: str, min_side: int, why: str) -> list[Finding]:
    """Return the findings of one set. `min_side` is the shortest usable side in pixels, and `why` the reason for it."""
    unread = [x for x in reports if x.error]
    readable = [x for x in reports if not x.error]
    deep = [x for x in unread if "8-bit" in x.error]
    damaged = [x for x in unread if "8-bit" not in x.error]
    small = [x for x in readable if min(x.height, x.width) < min_side]
    gray = [x for x in readable if x.gray]
    mixed = gray if 0 < len(gray) < len(readable) else []
    return [
        Finding("unreadable", where, "file(s) cannot be read to the end", "get them again, or remove them",
                [{"file": x.name, "says": x.error.split(";")[0]} for x in damaged]),
        Finding("format", where, "file(s) are not 8-bit gray or RGB", "convert them to 8-bit RGB, or remove them",
                [{"file": x.name, "says": x.error.split(",")[0]} for x in deep]),
        Finding("small", where, f"image(s) are smaller than {min_side} pixels, {why}", "remove them, or lower that option",
                [{"file": x.name, "says": _format_size(x), "height": x.height, "width": x.width} for x in small]),
        _find_oddity("palette", where, "palette image(s): 256 colors at most, often dithered", readable),
        _find_oddity("alpha", where, "image(s) with transparency; only the colors are read", readable),
        Finding("gray", where, f"gray image(s) among {len(readable)}; read as RGB",
                "leave them if that is intended; otherwise remove them",
                [{"file": x.name, "says": _format_size(x)} for x in mixed], False),
    ]  # fmt: skip


def _find_oddity(kind: str, where: str, what: str, readable: Sequence[FileReport]) -> Finding:
    items: list[dict[str, Any]] = [{"file": x.name, "says": _format_size(x)} for x in readable if x.oddity == kind]
    return Finding(kind, where, what, "look at them; convert them to RGB if they are to be used", items, False)


def _format_size(x: FileReport) -> str:
    return f"{x.width}×{x.height}"
