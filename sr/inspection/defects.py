"""Decode every file of a set to its last byte: find damage, formats that are not read, images that are too small or unusual."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import imagehash
import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from sr.image.damage import UnsupportedImageError
from sr.image.levels import WHITE, count_bits, round_to_levels, to_unit
from sr.image.listing import FolderListing, describe_images
from sr.image.png import find_png_damage
from sr.image.read import DecodedImage, open_image_file, read_image
from sr.inspection.finding import TRAINING, Finding
from sr.inspection.known_results import KnownResults
from sr.runtime.error import UserError

THUMBNAIL_SIDE = 256  # pixels of the longer side of the small gray copy used for hashes and registration
KIND = "inspected file 1"  # of remembered values: the fields of a `FileReport`


class FileReport(NamedTuple):
    """The properties of a file. If `error` says why it could not be read, the rest is empty."""

    path: Path
    error: str = ""
    is_unsupported: bool = False  # the error: a sound file of a kind that is not read
    height: int = 0  # upright
    width: int = 0
    oddity: str = ""  # palette, alpha, gray end, or nothing
    gray: bool = False
    frames: int = 1  # and pages, of which only the first one is read
    digest: str = ""  # of the decoded pixels: the same for two files of the same image
    bits: int = 8  # per channel
    hashes: str = ""  # ImageHash's `phash` of the image and of its mirror image, hexadecimal
    thumbnail: Image.Image | None = None  # that of `small`, unless the file is not decoded in this inspection

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def small(self) -> Image.Image:
        """The image in gray, at most `THUMBNAIL_SIDE` pixels long."""
        return self.thumbnail or read_thumbnail(self.path)

    @property
    def small_size(self) -> tuple[int, int]:
        """Width and height of `small`."""
        factor = min(1.0, THUMBNAIL_SIDE / max(self.width, self.height))
        return max(1, round(self.width * factor)), max(1, round(self.height * factor))


def inspect_files(paths: Sequence[Path], title: str, known: KnownResults) -> list[FileReport]:
    """Decode all files that are not known to be sound, in parallel, with a progress bar; a damaged file raises no error."""
    keys = [
        f"{digest} {path.suffix}" if digest else "" for digest, path in zip(known.digest(paths), paths, strict=True)
    ]
    return known.complete(
        KIND,
        keys,
        lambda k: _inspect_file(paths[k]),
        lambda report: None if report.error else report._replace(path=None, thumbnail=None),
        lambda k, fields: FileReport(*fields)._replace(path=paths[k]),
        f"decoding {title}",
    )


def _inspect_file(path: Path) -> FileReport:
    try:
        decoded = read_image(path, tuple(WHITE))
        with open_image_file(path) as file:
            header, has_palette = file.header, file.has_palette
        damage = find_png_damage(path) if header.format == "PNG" else ""
    except UserError as error:
        return FileReport(path, str(error).removeprefix(f"{path}: "), isinstance(error, UnsupportedImageError))
    if damage:
        return FileReport(path, f"this image is damaged ({damage})")
    height, width = decoded.pixels.shape[1:]
    oddity = "palette" if has_palette else "alpha" if decoded.alpha is not None else ""
    if header.format == "JPEG" and _has_gray_end(decoded.pixels):
        oddity = "gray end"
    rgb = np.ascontiguousarray(decoded.pixels.expand(3, -1, -1).numpy())
    digest = hashlib.sha256(bytes(f"{height}×{width}", "utf-8"))
    digest.update(rgb)
    small = _make_thumbnail(decoded)
    return FileReport(
        path,
        height=height,
        width=width,
        oddity=oddity,
        gray=decoded.pixels.shape[0] == 1,
        frames=header.frames,
        digest=digest.hexdigest(),
        bits=count_bits(header.dtype),
        hashes="".join(str(imagehash.phash(view)) for view in (small, ImageOps.mirror(small))),
        thumbnail=small,
    )


def _has_gray_end(pixels: Tensor) -> bool:
    """Return True if an edge is of level 128: a JPEG decoder puts it where the data of a file end too early.

    A file that is cut off has no end marker and is an error; this one got an end marker nevertheless, by a download or a
    recovery program. The last row is another edge if the image was rotated by its orientation.
    """
    return any(bool((edge == 128).all()) for edge in (pixels[:, 0], pixels[:, -1], pixels[..., 0], pixels[..., -1]))


def _make_thumbnail(decoded: DecodedImage) -> Image.Image:
    """Convert to gray, and downscale if larger than `THUMBNAIL_SIDE`."""
    pixels = decoded.pixels if decoded.pixels.dtype == torch.uint8 else round_to_levels(to_unit(decoded.pixels))
    pixels = pixels.permute(1, 2, 0).contiguous().numpy()
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).convert("L")
    factor = min(1.0, THUMBNAIL_SIDE / max(image.size))
    size = tuple(max(1, round(n * factor)) for n in image.size)
    return image.resize(size, Image.Resampling.LANCZOS) if factor < 1 else image


@lru_cache(64)
def read_thumbnail(path: Path) -> Image.Image:
    """Decode a file again for its small gray copy. Raises `UserError` if it is damaged meanwhile."""
    return _make_thumbnail(read_image(path, tuple(WHITE)))


def find_defects(reports: Sequence[FileReport], where: str, min_side: int, why: str) -> list[Finding]:
    """Return the findings of one set. `min_side` is the shortest usable side in pixels, and `why` the reason for it."""
    unread = [x for x in reports if x.error]
    readable = [x for x in reports if not x.error]
    unsupported = [x for x in unread if x.is_unsupported]
    damaged = [x for x in unread if not x.is_unsupported]
    small = [x for x in readable if min(x.height, x.width) < min_side]
    gray = [x for x in readable if x.gray]
    mixed = gray if 0 < len(gray) < len(readable) else []
    rarer = min(([x for x in readable if x.bits == bits] for bits in (16, 8)), key=len)
    return [
        Finding("unreadable", where, "file(s) cannot be read to the end", "get them again, or remove them",
                [{"file": x.name, "says": x.error.split(";")[0]} for x in damaged]),
        Finding("format", where, "file(s) are not gray or RGB of 8 or 16 bits", "convert them to RGB, or remove them",
                [{"file": x.name, "says": x.error.split(",")[0].split(";")[0]} for x in unsupported]),
        Finding("depth", where, f"file(s) of another depth than the other {len(readable) - len(rarer)}",
                "convert them to one depth", [{"file": x.name, "says": f"{x.bits} bits per channel"} for x in rarer]),
        Finding("frames", where, "file(s) hold several frames or pages; only the first one is read",
                "save each frame as a PNG file", [{"file": x.name, "says": f"{x.frames} frames", "frames": x.frames}
                for x in readable if x.frames > 1], where != TRAINING),
        Finding("small", where, f"image(s) are smaller than {min_side} pixels, {why}", "remove them, or lower that option",
                [{"file": x.name, "says": _format_size(x), "height": x.height, "width": x.width} for x in small]),
        _find_oddity("palette", where, "palette image(s): 256 colors at most, often dithered", readable),
        _find_oddity("gray end", where, "JPEG image(s) that end in plain gray, as those do whose data end early", readable,
                     "look at them; if they are cut off, get them again"),
        _find_oddity("alpha", where, "image(s) with transparency; only the colors are read", readable),
        Finding("gray", where, f"gray image(s) among {len(readable)}; read as RGB",
                "leave them if that is intended; otherwise remove them",
                [{"file": x.name, "says": _format_size(x)} for x in mixed], False),
    ]  # fmt: skip


def find_left_out(folder: FolderListing, where: str) -> list[Finding]:
    """Return the findings about the entries of a folder that are not read: in an evaluation set, images are an error."""
    kinds = folder.find_unread_kinds()
    images = [{"file": path.name, "says": kind.title} for path, kind in kinds.items() if kind and kind.has_images]
    others = [path for path in folder.others if not (kinds[path] and kinds[path].has_images)]
    entries = [{"file": path.name, "says": kinds[path].title if kinds[path] else "no image"} for path in others]
    entries += [{"file": f"{x.name}/", "says": f"a folder with {describe_images([x])}"} for x in folder.folders]
    return [
        Finding("unread", where, "file(s) are left out: their formats are not read", "convert them to PNG", images,
                where != TRAINING),
        Finding("left out", where, "other entries of the folder are left out", "nothing, unless they belong to the set",
                entries, False),
    ]  # fmt: skip


def _find_oddity(
    kind: str, where: str, what: str, readable: Sequence[FileReport],
    todo: str = "look at them; convert them to RGB if they are to be used",
) -> Finding:  # fmt: skip
    items: list[dict[str, Any]] = [{"file": x.name, "says": _format_size(x)} for x in readable if x.oddity == kind]
    return Finding(kind, where, what, todo, items, False)


def _format_size(x: FileReport) -> str:
    return f"{x.width}×{x.height}"
