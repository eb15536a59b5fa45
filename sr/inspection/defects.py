"""Every file of a set decoded to its last byte: damage, formats that are not read, sizes too small, odd ones out."""

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

SIDE = 256  # pixels of the longer side of the small gray copy that hashes and registration work on


class FileReport(NamedTuple):
    """What a file turned out to be. `fault` says why it could not be read; the rest is then empty."""

    path: Path
    fault: str = ""
    height: int = 0  # upright
    width: int = 0
    oddity: str = ""  # palette, alpha, or nothing
    gray: bool = False
    digest: str = ""  # of the decoded pixels: the same for two files of the same picture
    small: Image.Image | None = None  # gray, at most 256 pixels long

    @property
    def name(self) -> str:
        return self.path.name


def inspect_files(paths: Sequence[Path], title: str) -> list[FileReport]:
    """Decode all files, side by side, with a progress bar; never raises over a picture."""
    with ThreadPoolExecutor() as pool:
        bar = tqdm(pool.map(_one, paths), total=len(paths), desc=f"decoding {title}", unit="image", delay=1)
        return list(bar)


def _one(path: Path) -> FileReport:
    try:
        picture = read_image(path)
        with Image.open(path) as image:
            palette = image.mode in ("P", "PA")
    except UserError as error:
        return FileReport(path, str(error).removeprefix(f"{path}: "))
    except Exception as error:  # a decoder's own bug over bad bytes must not end the inspection either
        return FileReport(path, f"cannot be decoded ({type(error).__name__}: {error})")
    height, width = picture.pixels.shape[1:]
    oddity = "palette" if palette else "alpha" if picture.alpha is not None else ""
    digest = hashlib.sha256(bytes(f"{height}×{width}", "utf-8") + _rgb_bytes(picture)).hexdigest()
    return FileReport(path, "", height, width, oddity, picture.pixels.shape[0] == 1, digest, _small(picture))


def _rgb_bytes(picture: DecodedImage) -> bytes:
    return picture.pixels.expand(3, -1, -1).numpy().tobytes()


def _small(picture: DecodedImage) -> Image.Image:
    """Gray and shrunk, never enlarged."""
    pixels = picture.pixels.permute(1, 2, 0).numpy()
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).convert("L")
    factor = min(1.0, SIDE / max(image.size))
    size = tuple(max(1, round(n * factor)) for n in image.size)
    return image.resize(size, Image.Resampling.LANCZOS) if factor < 1 else image


def find_defects(looks: Sequence[FileReport], where: str, least: int, why: str) -> list[Finding]:
    """Findings over the files of one set; `least` is the shortest side that serves, in pixels, and `why` says so."""
    bad = [x for x in looks if x.fault]
    good = [x for x in looks if not x.fault]
    deep = [x for x in bad if "8-bit" in x.fault]
    broken = [x for x in bad if "8-bit" not in x.fault]
    small = [x for x in good if min(x.height, x.width) < least]
    gray = [x for x in good if x.gray]
    mixed = gray if 0 < len(gray) < len(good) else []
    return [
        Finding("unreadable", where, "file(s) cannot be read to the end", "get them again, or remove them",
                [{"file": x.name, "says": x.fault.split(";")[0]} for x in broken]),
        Finding("format", where, "file(s) are not 8-bit gray or RGB", "convert them to 8-bit RGB, or remove them",
                [{"file": x.name, "says": x.fault.split(",")[0]} for x in deep]),
        Finding("small", where, f"picture(s) are smaller than {least} pixels, {why}", "remove them, or lower that dial",
                [{"file": x.name, "says": _size(x), "height": x.height, "width": x.width} for x in small]),
        _odd("palette", where, "palette image(s): 256 colours at most, often dithered", good),
        _odd("alpha", where, "picture(s) with transparency; only the colours are read", good),
        Finding("gray", where, f"gray picture(s) among {len(good)}; read as RGB",
                "right if you know it; otherwise remove them", [{"file": x.name, "says": _size(x)} for x in mixed], False),
    ]  # fmt: skip


def _odd(kind: str, where: str, what: str, good: Sequence[FileReport]) -> Finding:
    items: list[dict[str, Any]] = [{"file": x.name, "says": _size(x)} for x in good if x.oddity == kind]
    return Finding(kind, where, what, "have a look at them; convert them to RGB if they shall serve", items, False)


def _size(x: FileReport) -> str:
    return f"{x.width}×{x.height}"
