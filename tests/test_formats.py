"""Every format on files that other programs wrote (ImageMagick, libvips, ffmpeg), and the table in docs/images.md."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from sr.image.file_format import Frame, Header, Metadata, ReadOptions, Window, WriteOptions
from sr.image.formats import FORMATS, find_format
from sr.image.read import open_image_file, read_image
from sr.runtime.error import UserError

PROGRAMS = ("convert", "vips", "ffmpeg")
MISSING = [program for program in PROGRAMS if not shutil.which(program)]
needs_programs = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")

H, W = 40, 56
ROWS, COLUMNS = np.mgrid[0:H, 0:W]
RGB = np.stack([ROWS * 6, COLUMNS * 4, 240 - ROWS * 3 - COLUMNS * 2], axis=-1).clip(0, 255).astype(np.uint8)
DEEP = (RGB.astype(np.uint16) * 256 + (ROWS * 5 + COLUMNS)[:, :, None]).astype(np.uint16)
GRAY, BILEVEL = RGB[:, :, :1], np.where(RGB[:, :, :1] >= 128, 255, 0)
ALPHA = (COLUMNS * 4).astype(np.uint8)[:, :, None]
BLOCKS = np.kron(RGB[::8, ::8], np.ones((8, 8, 1), np.uint8))  # of 35 colors
CUT = np.where(ALPHA >= 128, 255, 0)


class Case(NamedTuple):
    """A file of another program, and what it shows."""

    format: str
    shows: str  # in the column `read` of the table
    command: str
    pixels: np.ndarray  # [H, W, channels]
    alpha: np.ndarray | None = None
    tolerance: float = 0  # of the mean difference, in levels
    frames: int = 1


CASES = [
    Case("PNG", "RGB", "convert rgb.ppm a.png", RGB),
    Case("PNG", "gray", "vips pngsave gray.pgm a.png --interlace", GRAY),
    Case("PNG", "palette", "convert blocks.ppm -type Palette png8:a.png", BLOCKS),
    Case("PNG", "1 bit", "convert bilevel.pgm -type bilevel -define png:bit-depth=1 a.png", BILEVEL),
    Case("PNG", "alpha", "convert rgb.ppm alpha.pgm -compose CopyOpacity -composite a.png", RGB, ALPHA),
    Case("PNG", "16 bits", "convert deep.ppm -depth 16 a.png", DEEP),
    Case("PNG", "frames", "ffmpeg -v error -framerate 5 -i f%d.ppm -plays 0 -f apng a.png", RGB, None, 0, 3),
    Case("JPEG", "RGB", "convert rgb.ppm -quality 95 -interlace JPEG a.jpg", RGB, None, 1.5),
    Case("JPEG", "gray", "vips jpegsave gray.pgm a.jpg --Q 95", GRAY, None, 1.5),
    Case("JPEG", "CMYK", "convert rgb.ppm -colorspace CMYK -quality 98 a.jpg", RGB, None, 2),
    Case("WEBP", "RGB", "convert rgb.ppm -define webp:lossless=true a.webp", RGB),
    Case("WEBP", "alpha", "convert rgb.ppm alpha.pgm -compose CopyOpacity -composite -define webp:lossless=true "
         "-define webp:exact=true a.webp", RGB, ALPHA),
    Case("WEBP", "frames", "ffmpeg -v error -framerate 5 -i f%d.ppm -c:v libwebp_anim -lossless 1 -pix_fmt bgra -loop 0 a.webp",
         RGB, None, 0, 3),
    Case("GIF", "palette", "convert blocks.ppm a.gif", BLOCKS),
    Case("GIF", "alpha", "convert blocks.ppm cut.pgm -compose CopyOpacity -composite a.gif", BLOCKS, CUT),
    Case("GIF", "frames", "convert -delay 20 -loop 4 blocks.ppm f1.ppm f2.ppm a.gif", BLOCKS, None, 0, 3),
    Case("AVIF", "RGB", "vips heifsave rgb.ppm a.avif --compression av1 --Q 95 --subsample-mode off", RGB, None, 2),
    Case("BMP", "RGB", "convert rgb.ppm bmp3:a.bmp", RGB),
    Case("BMP", "palette", "convert blocks.ppm -type Palette bmp3:a.bmp", BLOCKS),
    Case("BMP", "alpha", "convert rgb.ppm alpha.pgm -compose CopyOpacity -composite bmp:a.bmp", RGB, ALPHA),
    Case("TIFF", "RGB", "vips tiffsave rgb.ppm a.tif --tile --tile-width 16 --tile-height 16 --compression lzw", RGB),
    Case("TIFF", "16 bits", "convert deep.ppm -compress Zip a.tif", DEEP),
    Case("TIFF", "CMYK", "convert rgb.ppm -colorspace CMYK a.tif", RGB, None, 2),
    Case("TIFF", "alpha", "convert rgb.ppm alpha.pgm -compose CopyOpacity -composite a.tif", RGB, ALPHA),
    Case("TIFF", "palette", "convert blocks.ppm -type Palette a.tif", BLOCKS),
    Case("TIFF", "1 bit", "convert bilevel.pgm -type bilevel -compress Group4 a.tif", BILEVEL),
    Case("TIFF", "gray", "convert gray.pgm a.tif", GRAY),
    Case("TIFF", "float", "vips cast rgb.ppm a.tif float", RGB.astype(np.float32)),
    Case("TIFF", "frames", "convert rgb.ppm f1.ppm f2.ppm -compress LZW a.tif", RGB, None, 0, 3),
    Case("Netpbm", "RGB", "vips ppmsave rgb.ppm a.ppm", RGB),
    Case("Netpbm", "gray", "convert gray.pgm -compress none a.pgm", GRAY),
    Case("Netpbm", "1 bit", "convert bilevel.pgm a.pbm", BILEVEL),
    Case("Netpbm", "alpha", "convert rgb.ppm alpha.pgm -compose CopyOpacity -composite a.pam", RGB, ALPHA),
    Case("Netpbm", "16 bits", "ffmpeg -v error -i deep.ppm -f image2 a.ppm", DEEP),
    Case("Netpbm", "frames", "convert rgb.ppm f1.ppm f2.ppm a.ppm", RGB, None, 0, 3),
    Case("TGA", "RGB", "ffmpeg -v error -i rgb.ppm a.tga", RGB),
    Case("TGA", "gray", "ffmpeg -v error -i gray.pgm a.tga", GRAY),
    Case("TGA", "alpha", "ffmpeg -v error -i rgba.pam a.tga", RGB, ALPHA),
    Case("JPEG 2000", "RGB", "vips jp2ksave rgb.ppm a.jp2 --lossless", RGB),
    Case("JPEG 2000", "gray", "vips jp2ksave gray.pgm a.jp2 --lossless", GRAY),
    Case("JPEG 2000", "16 bits", "vips jp2ksave deep.ppm a.jp2 --lossless", DEEP),
    Case("HEIC", "RGB", "vips heifsave rgb.ppm a.heic --compression hevc --Q 95 --subsample-mode off", RGB, None, 2),
]  # fmt: skip


def write_netpbm(path: Path, pixels: np.ndarray) -> None:
    """Write PGM or PPM by hand."""
    kind, white = {1: "P5", 3: "P6"}[pixels.shape[2]], 65535 if pixels.dtype == np.uint16 else 255
    data = pixels.astype(">u2" if white > 255 else np.uint8).tobytes()
    path.write_bytes(f"{kind}\n{pixels.shape[1]} {pixels.shape[0]}\n{white}\n".encode() + data)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with PPM and PGM files, from which the other programs make theirs."""
    folder = tmp_path_factory.mktemp("sources")
    images = {"rgb": RGB, "deep": DEEP, "blocks": BLOCKS, "f0": RGB, "f1": RGB[::-1], "f2": RGB[:, ::-1]}
    for name, pixels in images.items():
        write_netpbm(folder / f"{name}.ppm", pixels)
    for name, pixels in {"gray": GRAY, "bilevel": BILEVEL, "alpha": ALPHA, "cut": CUT}.items():
        write_netpbm(folder / f"{name}.pgm", pixels)
    (folder / "rgba.pam").write_bytes(
        f"P7\nWIDTH {W}\nHEIGHT {H}\nDEPTH 4\nMAXVAL 255\nTUPLTYPE RGB_ALPHA\nENDHDR\n".encode()
        + np.concatenate([RGB, ALPHA], axis=-1).tobytes()
    )
    return folder


@needs_programs
@pytest.mark.slow  # a process for each file
@pytest.mark.parametrize("case", CASES, ids=[f"{case.format}-{case.shows}" for case in CASES])
def test_files_of_other_programs_have_the_right_pixels(sources: Path, tmp_path: Path, case: Case) -> None:
    if case.format in ("HEIC",) or case.shows in ("16 bits", "float"):
        pytest.importorskip("imagecodecs")
    words = shlex.split(case.command)
    target = tmp_path / next(word for word in words if re.fullmatch(r"(\w+:)?a\.\w+", word)).rpartition(":")[2]
    words = [re.sub(r"\ba\.\w+$", str(target), word) for word in words]
    done = subprocess.run(words, check=False, cwd=sources, capture_output=True, text=True)
    if done.returncode and case.format == "HEIC":
        pytest.skip("libvips has no encoder of HEVC")
    assert done.returncode == 0, done.stderr
    with open_image_file(target) as file:
        header = file.header
        assert (header.format, header.height, header.width) == (case.format, H, W)
        assert (header.frames, header.channels) == (case.frames, case.pixels.shape[2])
        frame = file.read()
        check_pixels(frame, header, case)
        window = Window(7, 9, 20, 31)
        part = file.read(0, window)
        assert torch.equal(part.pixels, frame.pixels[:, 7:27, 9:40])
        if case.frames > 1 and case.format != "GIF":  # whose palettes are quantized
            last = file.read(2).pixels.permute(1, 2, 0).numpy()
            assert np.array_equal(last, case.pixels[:, ::-1])
        if header.frames > 1 and case.format in ("PNG", "WEBP", "GIF"):
            assert set(file.metadata.durations[:2]) == {200.0}
            assert file.metadata.loops == (3 if case.format == "GIF" else 0)


def check_pixels(frame: Frame, header: Header, case: Case) -> None:
    pixels = frame.pixels.permute(1, 2, 0).numpy()
    assert pixels.dtype == case.pixels.dtype or pixels.dtype == np.uint8
    visible = (
        slice(None) if case.alpha is None else case.alpha[:, :, 0] > 0
    )  # other colors may be changed by the writer
    assert np.abs(pixels.astype(float) - case.pixels)[visible].mean() <= case.tolerance
    assert (frame.alpha is None) == (case.alpha is None)
    if frame.alpha is not None:
        assert np.array_equal(frame.alpha[0, :, :, None].numpy(), case.alpha)
        assert header.has_alpha


# Writing


def make_frames(header: Header) -> list[Frame]:
    """Return frames of a header's kind, each one darker than the one before."""
    white = int(header.white)
    color = (DEEP if header.dtype == torch.uint16 else RGB)[:, :, : header.channels]
    color = color if white > 1 else color / np.float32(255)
    frames = []
    for k in range(header.frames):
        pixels = (color / (k + 1)).astype(color.dtype)
        alpha = np.full((1, H, W), white, color.dtype)
        alpha[:, : H // 2] = 0
        pixels = torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
        frames.append(Frame(pixels, torch.from_numpy(alpha) if header.has_alpha else None))
    return frames


WIDEST = Header(H, W, "color", frames=3, has_alpha=True, dtype=torch.float32, white=1.0)
WRITTEN = [name for name in FORMATS if find_format(name).can_write and not find_format(name).is_native]


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_written_is_read_back(tmp_path: Path, name: str) -> None:
    image_format = find_format(name)
    for wanted in (WIDEST, WIDEST._replace(frames=1, dtype=torch.uint16, white=65535.0),
                   WIDEST._replace(frames=1, channels=1, kind="gray", dtype=torch.uint8, white=255.0)):  # fmt: skip
        header = image_format.limit_header(wanted)
        frames = make_frames(header)
        metadata = Metadata(durations=(120.0, 340.0, 50.0)[: header.frames], loops=2 if header.frames > 1 else None)
        writer = image_format.create(tmp_path / "a", header, metadata, WriteOptions())
        for frame in frames:
            for top in range(0, H, 16):
                alpha = None if frame.alpha is None else frame.alpha[:, top : top + 16]
                writer.write(Frame(frame.pixels[:, top : top + 16], alpha))
        writer.close()
        (tmp_path / "a").rename(target := tmp_path / f"a{image_format.suffixes[0]}")
        with open_image_file(target) as file:
            assert file.header[:2] == header[:2]
            assert file.header.frames == header.frames
            assert (file.header.dtype, file.header.has_alpha) == (header.dtype, header.has_alpha)
            for k, frame in enumerate(frames):
                found = file.read(k)
                visible = slice(None) if frame.alpha is None else slice(H // 2 + 4, None)
                difference = (found.pixels.double() - frame.pixels.double())[:, visible].abs().mean() / header.white
                assert difference < 6 / 255
                assert (
                    frame.alpha is None
                    or (found.alpha.double() - frame.alpha.double()).abs().mean() < header.white / 50
                )
            if header.frames > 1 and "durations" in image_format.held:
                assert file.metadata.durations == (120.0, 340.0, 50.0)
                assert file.metadata.loops == (None if name == "AVIF" else 2)


# The table


def describe_format(name: str, folder: Path) -> str:
    """Return a row of the table: from the cases above, and from what the format says it can hold."""
    image_format = find_format(name)
    read = dict.fromkeys(case.shows for case in CASES if case.format == name)
    title = f"{name} (`sr[images]`)" if name == "HEIC" else name
    suffixes = " ".join(image_format.suffixes)
    if not image_format.can_write:
        return f"| {title} | {suffixes} | {', '.join(read)} | whole | – | | | |"
    wide = image_format.limit_header(WIDEST)
    still = image_format.limit_header(WIDEST._replace(frames=1))
    deep = image_format.limit_header(WIDEST._replace(frames=1, dtype=torch.uint16, white=65535.0))
    depths = ["8"] + ["16"] * (deep.dtype == torch.uint16) + ["float"] * (still.dtype == torch.float32)
    holds = ["alpha"] * wide.has_alpha + ["frames"] * (wide.frames > 1)
    names = {
        "icc": "color profile",
        "exif": "EXIF",
        "xmp": "XMP",
        "dpi": "DPI",
        "texts": "texts",
        "comment": "comment",
        "durations": "durations",
    }
    held = [names[field] for field in names if field in image_format.held]
    path = folder / f"a{image_format.suffixes[0]}"
    writer = image_format.create(path, still, Metadata(), WriteOptions())
    rows = "as they come" if writer.is_streaming else "at the end"
    writer.write(make_frames(still)[0])
    writer.close()
    with open_image_file(path) as file:
        part = "in windows" if file.is_windowed else "whole"
    lists = (", ".join(words) for words in (depths, holds, held))
    return f"| {title} | {suffixes} | {', '.join(read)} | {part} | {' | '.join(lists)} | {rows} |"


def test_the_table_in_the_documentation_is_what_the_formats_say(tmp_path: Path) -> None:
    pytest.importorskip("imagecodecs")
    page = (Path(__file__).parents[1] / "docs/images.md").read_text()
    head = "| format | suffixes | read | decoded | bits written | also written | metadata written | rows are encoded |"
    table = [
        head,
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        *(describe_format(name, tmp_path) for name in FORMATS if not find_format(name).is_native),
    ]
    assert "\n".join(table) in page


# Damage


@pytest.mark.parametrize(("content", "message"), [
    (b"P5\n4 4\n255\n" + bytes(15), "its pixels end after 15 of 16 bytes"),
    (b"P6\n4 4\n70000\n" + bytes(99), "levels up to 70000"),
    (b"P5\n4 x\n255\n", "its header has no height"),
    (b"P2\n2 2\n9\n1 2 3", "expected 4 levels"),
    (b"P2\n2 2\n9\n1 2 3 10", "expected 4 levels of 0 to 9"),
    (b"P2\n99999 99999\n9\n1 2 3", "more than it can hold"),
    (b"P7\nWIDTH 2\nHEIGHT 2\nDEPTH 7\nMAXVAL 255\nENDHDR\n" + bytes(28), "expected 1 to 4 channels (found 7)"),
])  # fmt: skip
def test_a_damaged_netpbm_file_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.ppm").write_bytes(content)
    with pytest.raises(UserError, match=re.escape(message)) as error:
        read_image(tmp_path / "a.ppm")
    assert str(error.value).startswith(f"{tmp_path}/a.ppm: ")


def test_levels_of_a_netpbm_file_with_another_white_are_scaled(tmp_path: Path) -> None:
    (tmp_path / "a.pgm").write_bytes(b"P2 # text\n3 1\n# white\n31\n0 15 31\n")
    assert read_image(tmp_path / "a.pgm").pixels.tolist() == [[[0, 123, 255]]]
    (tmp_path / "b.pgm").write_bytes(b"P5 2 1 1023\n\x00\x07\x03\xff")
    with open_image_file(tmp_path / "b.pgm") as file:
        assert (file.header.white, file.read().pixels.tolist()) == (1023.0, [[[7, 1023]]])
    (tmp_path / "c.pbm").write_bytes(b"P1\n3 2\n101\n0 1 0\n")
    assert read_image(tmp_path / "c.pbm").pixels.tolist() == [[[0, 255, 0], [255, 0, 255]]]


def test_an_option_of_other_formats_is_refused_by_the_name_of_the_file(tmp_path):
    path = tmp_path / "photo.png"
    Image.new("RGB", (4, 4)).save(path)
    with pytest.raises(UserError, match=r"photo\.png: axis is not an option of PNG files"):
        open_image_file(path, ReadOptions(axis="z"))
