"""Folders with entries of some fifty kinds: images that are read, images of other formats, damaged, odd and special ones."""

import gzip
import os
import socket
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from conftest import write_image
from PIL import Image, ImageChops, TiffImagePlugin

H, W = 48, 56
TYPES = {
    str: TiffImagePlugin.TiffTags.ASCII,
    float: TiffImagePlugin.TiffTags.DOUBLE,
    int: TiffImagePlugin.TiffTags.LONG,
}
READ, DEEP, UNREAD, BAD, FRAMES, FOLDER = "read", "deep", "unread", "bad", "frames", "folder"


def make_pixels(channels: int = 3, height: int = H, width: int = W) -> np.ndarray:
    """Return a smooth image, which lossy formats change little, `[H, W, C]`."""
    rows, columns = np.mgrid[0:height, 0:width]
    planes = [rows * 4, columns * 4, 255 - rows * 4, 128 + columns, 255 - columns, rows + columns]
    return np.stack(planes[:channels], axis=-1).clip(0, 255).astype(np.uint8)


def make_image(channels: int = 3) -> Image.Image:
    """Return the smooth image for Pillow: L, LA, RGB or RGBA."""
    pixels = make_pixels(channels)
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels)


def write_chunks(path: Path, *chunks: tuple[bytes, bytes]) -> None:
    """Write a PNG file of these chunks."""
    content = b"\x89PNG\r\n\x1a\n"
    for name, data in chunks:
        content += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    path.write_bytes(content)


def png_header(depth: int = 8, color: int = 2, interlace: int = 0) -> tuple[bytes, bytes]:
    """Return the header of a PNG of H×W."""
    return b"IHDR", struct.pack(">IIBBBBB", W, H, depth, color, 0, 0, interlace)


def png_rows(rows: int = H) -> bytes:
    """Return the first rows of the smooth image, as a PNG stores them before it compresses them."""
    return b"".join(b"\0" + row.tobytes() for row in make_pixels()[:rows])


def write_half_png(path: Path) -> None:
    """Write a PNG whose compressed stream ends, as it should, after half of the rows."""
    write_chunks(path, png_header(), (b"IDAT", zlib.compress(png_rows(H // 2))), (b"IEND", b""))


def write_png_16(path: Path) -> None:
    """Write RGB with 16 bits a channel, which Pillow opens as 8-bit RGB without a warning."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in make_pixels().astype(np.uint16) * 257)
    write_chunks(path, png_header(16), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))


def write_long_transparency(path: Path) -> None:
    """Write a palette PNG with more entries of transparency than colors can be."""
    rows = b"".join(b"\0" + bytes(range(W)) for _ in range(H))
    palette, alpha = (b"PLTE", bytes(range(256)) * 3), (b"tRNS", bytes(300))
    write_chunks(path, png_header(8, 3), palette, alpha, (b"IDAT", zlib.compress(rows)), (b"IEND", b""))


def write_late_orientation(path: Path) -> None:
    """Write a PNG whose EXIF, which turns it by 90°, stands after the pixels."""
    exif = Image.Exif()
    exif[0x0112] = 6
    data = exif.tobytes().removeprefix(b"Exif\0\0")
    write_chunks(path, png_header(), (b"IDAT", zlib.compress(png_rows())), (b"eXIf", data), (b"IEND", b""))


def write_tiff(path: Path, bands: int = 3, **tags: object) -> None:
    """Write an uncompressed 8-bit TIFF of one strip, `tags` (`t338=(0,)`) added to those that it needs."""
    pixels = make_pixels(bands).tobytes()
    entries = {
        256: W,
        257: H,
        258: (8,) * bands,
        259: 1,
        262: 2 if bands > 2 else 1,
        277: bands,
        278: H,
        279: len(pixels),
    }
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    directory[273] = 0  # where the strip begins: Pillow adds the length of the directory
    for tag, value in (entries | {int(name[1:]): value for name, value in tags.items()}).items():
        if type(value) in TYPES:  # whatever type the tag should have
            directory.tagtype[tag] = TYPES[type(value)]
        directory[tag] = value
    path.write_bytes(b"II*\0" + struct.pack("<I", 8) + directory.tobytes(8) + pixels)


def write_frames(path: Path, count: int = 4) -> None:
    """Write a file of several frames or pages."""
    frames = [ImageChops.offset(make_image(), 0, 5 * k) for k in range(count)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def write_tiff_with_overview(path: Path) -> None:
    """Write a TIFF whose second page is a smaller copy of the first, as a cloud-optimized GeoTIFF has."""
    overview = TiffImagePlugin.ImageFileDirectory_v2()
    overview[254] = 1
    small = make_image().resize((W // 2, H // 2))
    small.encoderinfo = {"tiffinfo": overview}
    make_image().save(path, save_all=True, append_images=[small])


def write_socket(path: Path) -> None:
    """Make a socket; its name is relative, because it must be short."""
    here = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def save(channels: int = 3, **options: object) -> Callable[[Path], None]:
    """Return the function that saves the smooth image."""
    return lambda path: make_image(channels).save(path, **options)


def data(content: bytes) -> Callable[[Path], None]:
    """Return the function that writes these bytes."""
    return lambda path: path.write_bytes(content)


def with_orientation(value: object) -> Callable[[Path], None]:
    """Return the function that saves the image with this EXIF orientation."""

    def write(path: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = value
        make_image().save(path, exif=exif)

    return write


def cut(fraction: float) -> Callable[[Path], None]:
    """Return the function that writes a first part of an image of noise."""

    def write(path: Path) -> None:
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (H, W, 3), dtype=np.uint8)).save(path)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * fraction)])

    return write


DICOM = bytes(128) + b"DICM" + bytes(200)
NIFTI = bytes(344) + b"n+1\0" + bytes(100)
GRAY_16 = Image.fromarray(make_pixels(1)[..., 0].astype(np.uint16) * 257)
FLOAT = Image.fromarray(make_pixels(1)[..., 0].astype(np.float32))

# Entry of a folder -> (what becomes of it, the function that makes it). BAD files are refused by name, DEEP ones (16 bits)
# among others of 8 bits, FRAMES are read only in part, UNREAD files are left out of a folder because of their suffix.
ENTRIES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "rgb.png": (READ, save()), "gray.png": (READ, save(1)), "alpha.png": (READ, save(4)), "gray_alpha.png": (READ, save(2)),
    "photo.JPG": (READ, save(quality=95)), "camera.jpeg": (READ, save()), "web.webp": (READ, save()), "old.bmp": (READ, save()),
    "scan.tif": (READ, save()), "packed.tiff": (READ, save(compression="tiff_lzw")), "überspaß = 50% [1].png": (READ, save()),
    b"caf\xe9.png".decode(errors="surrogateescape"): (READ, save()),  # a name in Latin-1
    "palette.png": (READ, lambda path: make_image().quantize(16).save(path)), "bilevel.png": (
        READ, lambda path: make_image(1).convert("1").save(path)), "turned.jpg": (READ, with_orientation(6)),
    "orientation9.jpg": (READ, with_orientation(9)), "overview.tif": (READ, write_tiff_with_overview),
    "link.png": (READ, lambda path: path.symlink_to("rgb.png")), "icc.tif": (READ, lambda path: write_tiff(path, t34675=7)),
    "pages.tif": (FRAMES, write_frames), "moving.png": (FRAMES, write_frames), "animated.webp": (FRAMES, write_frames),
    "a.avif": (READ, save()), "a.gif": (READ, save()), "frames.gif": (FRAMES, write_frames), "a.ppm": (READ, save()),
    "a.tga": (READ, save()), "a.jp2": (READ, save()), "a.ico": (UNREAD, save()), "a.jfif": (READ, save(format="JPEG")),
    "a.heic": (BAD, data(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64))), "a.dcm": (BAD, data(DICOM)),
    "scan0001": (UNREAD, data(DICOM)), "a.nii": (BAD, data(NIFTI)), "a.nii.gz": (BAD, data(gzip.compress(NIFTI))),
    "clip.mp4": (UNREAD, data(b"\0\0\0\x20ftypisom" + bytes(64))), "logo.svg": (UNREAD, data(b"<svg></svg>")),
    "raw.dng": (UNREAD, save(format="TIFF")), "paper.pdf": (UNREAD, data(b"%PDF-1.7")), "notes.txt": (UNREAD, data(b"notes")),
    "Thumbs.db": (UNREAD, data(b"\xd0\xcf\x11\xe0")), "README": (UNREAD, data(b"BMW is a car")),
    "sixteen.png": (DEEP, write_png_16), "gray16.tif": (DEEP, GRAY_16.save), "float.tif": (BAD, FLOAT.save),
    "cmyk.jpg": (READ, lambda path: make_image().convert("CMYK").save(path)), "eps.png": (BAD, save(format="EPS")),
    "bands.tif": (BAD, lambda path: write_tiff(path, 6, t338=(0, 0, 0))), "signed.tif": (
        BAD, lambda path: write_tiff(path, 1, t339=2)), "dicom.png": (BAD, data(DICOM)), "preamble.tif": (
        BAD, data(b"II*\0" + DICOM[4:])), "gif.png": (READ, save(format="GIF")), "text.png": (BAD, data(b"I am a letter.")),
    "nothing.png": (BAD, data(b"")), "half.png": (BAD, cut(0.5)), "cut.jpg": (BAD, cut(0.5)), "short.webp": (BAD, cut(0.5)),
    "part.tif": (BAD, cut(0.5)), "half_stream.png": (BAD, write_half_png), "tRNS.png": (BAD, write_long_transparency),
    "late_exif.png": (BAD, write_late_orientation), "pipe.png": (BAD, os.mkfifo), "socket.png": (BAD, write_socket),
    "broken_link.png": (BAD, lambda path: path.symlink_to("nowhere.png")),
    "more": (FOLDER, lambda path: [write_image(path / f"{k}.png", H, W) for k in range(3)]), "x.png": (FOLDER, Path.mkdir),
    "empty": (FOLDER, Path.mkdir),
}  # fmt: skip


def fill_folder(folder: Path, *kinds: str) -> dict[str, str]:
    """Make all entries of these kinds, and a hidden file; return name -> kind."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".hidden.png").touch()
    names = {name: kind for name, (kind, _) in ENTRIES.items() if kind in kinds}
    for name in names:
        ENTRIES[name][1](folder / name)
    return names
