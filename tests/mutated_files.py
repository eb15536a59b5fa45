"""Make damaged files of all formats: cut, with changed bytes, huge sizes, repeated parts, or a wrong suffix."""

import io
import random
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image

H, W = 40, 56
HUGE = 0x7FFF_FFF0
SUFFIXES = (".png", ".jpg", ".webp", ".gif", ".avif", ".bmp", ".tif", ".ppm", ".jp2", ".heic")


class MutatedFile(NamedTuple):
    """A damaged file: its name, its bytes, what was done to it, and the name of the sound file that it was made of."""

    name: str
    data: bytes
    kind: str
    source: str


def make_sources() -> dict[str, bytes]:
    """Return small sound files by name: every format, kind of pixels and layout that is read."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:H, :W]
    smooth = np.stack([x * 4, y * 6, (x + y) * 2], axis=-1)
    color = (smooth + rng.integers(0, 12, smooth.shape)).astype(np.uint8)
    image = Image.fromarray(color)
    alpha = Image.fromarray(np.dstack([color, 255 - color[:, :, :1]]))
    frames = [Image.fromarray(np.roll(color, 7 * k, axis=1)) for k in range(3)]
    gray = image.convert("L")
    sources = {
        "rgb.png": save(image, "PNG"), "gray.png": save(gray, "PNG"), "alpha.png": save(alpha, "PNG"),
        "palette.png": save(image.quantize(32), "PNG"), "frames.png": save(*frames, kind="PNG"),
        "a.jpg": save(image, "JPEG", quality=90), "progressive.jpg": save(image, "JPEG", progressive=True),
        "gray.jpg": save(gray, "JPEG"), "cmyk.jpg": save(image.convert("CMYK"), "JPEG"),
        "lossy.webp": save(image, "WEBP"), "lossless.webp": save(alpha, "WEBP", lossless=True),
        "frames.webp": save(*frames, kind="WEBP"), "a.gif": save(image, "GIF"), "frames.gif": save(*frames, kind="GIF"),
        "a.avif": save(image, "AVIF"), "frames.avif": save(*frames, kind="AVIF"), "a.bmp": save(image, "BMP"),
        "palette.bmp": save(image.quantize(32), "BMP"), "a.ppm": save(image, "PPM"), "a.pgm": save(gray, "PPM"),
        "a.tga": save(image, "TGA"), "rle.tga": save(image, "TGA", compression="tga_rle"),
        "a.jp2": save(image, "JPEG2000"), "lossy.jp2": save(image, "JPEG2000", irreversible=True, quality_layers=[20]),
        "a.tif": save(image, "TIFF"), "lzw.tif": save(image, "TIFF", compression="tiff_lzw"),
        "frames.tif": save(*frames, kind="TIFF"), "jpeg.tif": save(image, "TIFF", compression="jpeg"),
        "fax.tif": save(gray.convert("1"), "TIFF", compression="group4"),
        "palette.tif": save(image.quantize(32), "TIFF"),
    }  # fmt: skip
    return sources | make_deep_sources(color)


def make_deep_sources(color: np.ndarray) -> dict[str, bytes]:
    """Return the files that need sr[images]; none if that is not installed."""
    try:
        import imagecodecs
        import pillow_heif
        import tifffile
    except ImportError:
        return {}
    deep = color.astype(np.uint16) * 257
    values = color / np.float32(255)
    heif = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(color)).save(heif, quality=90)

    def write(array: np.ndarray, **options: object) -> bytes:
        file = io.BytesIO()
        tifffile.imwrite(file, array, photometric="rgb", metadata=None, **options)
        return file.getvalue()

    return {
        "deep.png": imagecodecs.png_encode(deep), "deep.jp2": imagecodecs.jpeg2k_encode(deep, level=0, reversible=True),
        "deep.avif": imagecodecs.avif_encode(deep >> 6, level=90, bitspersample=10), "a.heic": heif.getvalue(),
        "tiled.tif": write(deep, tile=(16, 16), compression="deflate", predictor=2),
        "zstd.tif": write(color, rowsperstrip=7, compression="zstd"),
        "float.tif": write(values, rowsperstrip=9, compression="deflate", predictor=3),
        "big.tif": write(deep, bigtiff=True, rowsperstrip=10), "planar.tif": write(
            np.ascontiguousarray(color.transpose(2, 0, 1)), planarconfig="separate", compression="lzw"),
    }  # fmt: skip


def save(*frames: Image.Image | str, kind: str = "", **options: object) -> bytes:
    """Return the bytes of an image, or of several frames, in Pillow's format `kind`, which may be the last argument."""
    if isinstance(frames[-1], str):
        *frames, kind = frames
    file = io.BytesIO()
    others = {"save_all": True, "append_images": frames[1:]} if len(frames) > 1 else {}
    frames[0].save(file, kind, **options, **others)
    return file.getvalue()


def mutate(sources: dict[str, bytes], count: int, seed: int = 0) -> Iterator[MutatedFile]:
    """Yield `count` damaged files: of each source as many, of each kind as many."""
    rng = random.Random(seed)
    kinds = {"cut": cut, "flip": flip, "burst": burst, "repeat": repeat, "huge": announce_huge_size}
    names = list(sources)
    for number in range(count):
        source = names[number % len(names)]
        kind = (*kinds, "suffix")[number // len(names) % (len(kinds) + 1)]
        stem, _, suffix = source.rpartition(".")
        if kind == "suffix":
            suffix = rng.choice([s for s in SUFFIXES if s != f".{suffix}"]).removeprefix(".")
        data = sources[source] if kind == "suffix" else kinds[kind](sources[source], rng)
        yield MutatedFile(f"{number:04}_{kind}_{stem}.{suffix}", data, kind, source)


def cut(data: bytes, rng: random.Random) -> bytes:
    """Return the beginning of a file: an interrupted download."""
    return data[: rng.randrange(1, len(data))]


def flip(data: bytes, rng: random.Random) -> bytes:
    """Return a file with up to 4 bytes changed, half of them in the first 200 bytes."""
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 5)):
        changed[rng.randrange(min(200, len(data)) if rng.random() < 0.5 else len(data))] = rng.randrange(256)
    return bytes(changed)


def burst(data: bytes, rng: random.Random) -> bytes:
    """Return a file with a block of zeros or of noise in it: a bad sector."""
    start, size = rng.randrange(len(data)), rng.randrange(1, 513)
    block = bytes(size) if rng.random() < 0.5 else rng.randbytes(size)
    return (data[:start] + block + data[start + size :])[: len(data)]


def repeat(data: bytes, rng: random.Random) -> bytes:
    """Return a file in which a part stands twice, or is left out."""
    start, end = sorted(rng.randrange(len(data)) for _ in range(2))
    return data[:end] + data[start:] if rng.random() < 0.7 else data[:start] + data[end:]


def announce_huge_size(data: bytes, rng: random.Random) -> bytes:
    """Return a file whose header announces a huge width or height, or both; with the right checksum where there is one."""
    if data.startswith(b"\x89PNG"):
        header = bytearray(data[12:29])
        _replace_sizes(header, 4, ">II", rng)
        return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]
    changed = bytearray(data)
    if data[128:132] == b"DICM":
        return _announce_huge_dicom(changed, rng)
    if data.startswith(b"P"):
        return data.replace(b"56", rng.choice([b"99999999999", b"4000000000", b"2000000"]), 1)
    if data[:2] in (b"II", b"MM"):
        return _announce_huge_tiff(changed, rng)
    places = {  # of the size: offset, format
        b"\xff\xd8": (max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2")) + 5, ">HH"), b"GI": (6, "<HH"),
        b"BM": (18, "<II"), b"RI": (data.find(b"VP8X") + 12 if b"VP8X" in data else 26, "<HH"),
    }  # fmt: skip
    offset, layout = places.get(data[:2], (12, "<HH"))  # TGA has no signature
    for name, shift, other in ((b"ihdr", 4, ">II"), (b"ispe", 8, ">II")):
        if name in data:
            offset, layout = data.find(name) + shift, other
    _replace_sizes(changed, offset, layout, rng)
    if b"\xff\x4f\xff\x51" in data:
        _replace_sizes(changed, data.find(b"\xff\x4f\xff\x51") + 8, ">II", rng)
    return bytes(changed)


def _replace_sizes(data: bytearray, offset: int, layout: str, rng: random.Random) -> None:
    most = HUGE if "I" in layout else 0xFFF0
    sizes = list(struct.unpack_from(layout, data, offset))
    for index in rng.choice([(0,), (1,), (0, 1)]):
        sizes[index] = rng.choice([most, most // 2, 60_000])
    struct.pack_into(layout, data, offset, *sizes)


def _announce_huge_dicom(data: bytearray, rng: random.Random) -> bytes:
    for element in (0x0010, 0x0011):  # Rows, Columns, of explicit or implicit VR
        for head in (struct.pack("<HH2sH", 0x28, element, b"US", 2), struct.pack("<HHI", 0x28, element, 2)):
            place = data.find(head)
            if place >= 0 and rng.random() < 0.7:
                struct.pack_into("<H", data, place + 8, rng.choice([0xFFFF, 0xFFF0, 30_000]))
    place = data.find(struct.pack("<HH2sH", 0x28, 0x0008, b"IS", 2))  # NumberOfFrames
    if place >= 0:
        data[place + 6 : place + 10] = struct.pack("<H", 8) + b"99999999"
    return bytes(data)


def _announce_huge_tiff(data: bytearray, rng: random.Random) -> bytes:
    is_big = data[2] == 43
    (start,) = struct.unpack_from("<Q" if is_big else "<I", data, 8 if is_big else 4)
    (count,) = struct.unpack_from("<Q" if is_big else "<H", data, start)
    for k in range(count):
        place = start + (8 + 20 * k if is_big else 2 + 12 * k)
        (tag,) = struct.unpack_from("<H", data, place)
        if tag in (256, 257, 278, 322) and rng.random() < 0.7:  # width, height, rows per strip, tile width
            struct.pack_into("<HI", data, place + 2, 4, 1)
            struct.pack_into("<I", data, place + (12 if is_big else 8), rng.choice([HUGE, 4_000_000_000, 100_000]))
    return bytes(data)
