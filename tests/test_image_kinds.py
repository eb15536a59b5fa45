"""What is read of odd, damaged and unsupported files: the right pixels, or an error that names the file and its kind."""

import os
import signal
import stat
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from file_kinds import (
    BAD,
    DEEP,
    DICOM,
    ENTRIES,
    FRAMES,
    NIFTI,
    READ,
    H,
    W,
    data,
    make_image,
    make_pixels,
    png_header,
    png_rows,
    save,
    with_orientation,
    write_chunks,
    write_frames,
    write_half_png,
    write_tiff,
    write_tiff_with_overview,
)  # fmt: skip
from PIL import Image

from sr.image.convert import to_pixels
from sr.image.damage import UnsupportedImageError
from sr.image.metadata import list_lost_parts
from sr.image.png import find_png_damage
from sr.image.read import open_image_file, probe, read_image
from sr.runtime.error import UserError


def list_lost(path: Path) -> list[str]:
    """Return what a result has not that holds the first frame and the color profile of a file."""
    with open_image_file(path) as file:
        return list_lost_parts(file, file.header._replace(frames=1), ("icc",))


@pytest.fixture(autouse=True)
def five_seconds() -> Iterator[None]:
    """Raise TimeoutError in a test that waits for a pipe."""

    def stop(*_: object) -> None:
        raise TimeoutError("the file was waited for")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def error_of(path: Path) -> str:
    """Return the error of reading a file, which begins with its path."""
    with pytest.raises(UserError) as error:
        read_image(path)
    assert str(error.value).startswith(f"{path}: ")
    return str(error.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize("name", [name for name, (kind, _) in ENTRIES.items() if kind in (READ, FRAMES)])
def test_the_announced_size_is_the_decoded_size(tmp_path: Path, name: str) -> None:
    save()(tmp_path / "rgb.png")  # for the link
    (tmp_path / name).unlink(missing_ok=True)
    ENTRIES[name][1](tmp_path / name)
    header, decoded = probe(tmp_path / name), read_image(tmp_path / name)
    assert (header.height, header.width) == decoded.pixels.shape[1:]
    assert decoded.pixels.shape[0] == (1 if header.kind == "gray" else 3)
    assert header.frames == (4 if ENTRIES[name][0] == FRAMES else 1)


@pytest.mark.parametrize("name", [name for name, (kind, _) in ENTRIES.items() if kind in (BAD, DEEP)])
def test_every_other_file_is_an_error_that_names_it(tmp_path: Path, name: str) -> None:
    ENTRIES[name][1](tmp_path / name)
    assert error_of(tmp_path / name)


@pytest.mark.parametrize("orientation", [0, 9, 255, 65535])
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
def test_an_orientation_that_does_not_exist_leaves_the_image_as_it_is(
    tmp_path: Path, name: str, orientation: int
) -> None:
    with_orientation(orientation)(tmp_path / name)
    assert probe(tmp_path / name)[:2] == read_image(tmp_path / name).pixels.shape[1:] == (H, W)


@pytest.mark.parametrize("value", ["6", "six", (6, 6), 6.0], ids=str)
def test_an_orientation_of_a_wrong_type_is_understood_in_one_way(tmp_path: Path, value: object) -> None:
    write_tiff(tmp_path / "a.tif", t274=value)
    assert probe(tmp_path / "a.tif")[:2] == read_image(tmp_path / "a.tif").pixels.shape[1:]


def test_an_orientation_behind_the_pixels_is_an_error_not_a_crop(tmp_path: Path) -> None:
    ENTRIES["late_exif.png"][1](tmp_path / "a.png")
    assert f"its header announces {W}×{H} pixels upright, decoded are {H}×{W}" in error_of(tmp_path / "a.png")


def test_a_file_in_eps_format_does_not_start_ghostscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)
    save(format="EPS")(tmp_path / "a.png")
    assert error_of(tmp_path / "a.png") == "this is an EPS file; sr does not read EPS yet: convert it to PNG"
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize(
    ("name", "found"),
    [("pipe.png", "a FIFO (named pipe)"), ("socket.png", "a socket"), ("device.png", "a device")],
)
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path, name: str, found: str) -> None:
    if name == "device.png":
        (tmp_path / name).symlink_to("/dev/zero")
    else:
        ENTRIES[name][1](tmp_path / name)
    assert error_of(tmp_path / name) == f"expected a file (found {found}); replace or remove it"


KINDS = {
    "a.dcm": (data(DICOM), "this image is damaged (it does not state its transfer syntax)"),
    "tiff_in_preamble.tif": (data(b"II*\0" + DICOM[4:]), "this image is damaged (it does not state its transfer syntax)"),
    "a.nii": (data(NIFTI), "this image is damaged (its header cannot be read)"),
    "a.avi": (data(b"RIFF\0\0\0\0AVI LIST"), "this is a video file; sr does not read video yet: make an MKV file of it"),
    "a.jxl": (data(b"\xff\x0a" + bytes(64)), "this is a JPEG XL file"),
    "a.svg": (ENTRIES["logo.svg"][1], "this is an SVG file"),
    "a.pdf": (ENTRIES["paper.pdf"][1], "this is a PDF file"),
    "a.dng": (save(format="TIFF"), "this is a camera RAW file"),
    "dng.tif": (lambda path: write_tiff(path, t50706=(1, 4, 0, 0)), "its first page is a small preview (camera RAW?)"),
    "preview.tif": (lambda path: write_tiff(path, t254=1), "its first page is a small preview"),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_a_known_kind_that_is_not_read_is_named(tmp_path: Path, name: str) -> None:
    write, message = KINDS[name]
    if name in ("a.dcm", "tiff_in_preamble.tif", "a.nii"):
        pytest.importorskip("nibabel" if name == "a.nii" else "pydicom", reason="needs sr[medical]")
    write(tmp_path / name)
    assert error_of(tmp_path / name).startswith(message)
    with pytest.raises(UserError if "damaged" in message else UnsupportedImageError):
        probe(tmp_path / name)


@pytest.mark.parametrize(
    ("bands", "tags", "message"),
    [
        (6, {"t262": 1, "t338": (0,) * 5}, "6 bands of uint8, expected 8-bit gray or RGB"),
        (4, {"t338": (0,)}, "4 bands of uint8, expected 8-bit gray or RGB"),
        (1, {"t339": 2}, "1 band of float32, expected 8-bit gray or RGB"),  # signed
    ],
)
def test_pixels_that_training_does_not_read_are_named(
    tmp_path: Path, bands: int, tags: dict[str, object], message: str
) -> None:
    pytest.importorskip("imagecodecs", reason="needs sr[images]")
    write_tiff(tmp_path / "a.tif", bands, **tags)
    assert error_of(tmp_path / "a.tif").startswith(message)


def test_a_color_profile_of_a_wrong_type_is_left_out_and_named(tmp_path: Path) -> None:
    write_tiff(tmp_path / "a.tif", t34675=7)
    with open_image_file(tmp_path / "a.tif") as file:
        assert file.metadata.icc is None
        assert np.array_equal(file.read().pixels.permute(1, 2, 0), make_pixels())
    assert list_lost(tmp_path / "a.tif") == ["a color profile that cannot be read"]


# PNG streams that end early

ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)  # left, top, steps


@pytest.mark.parametrize("rows", [1, H // 2, H - 2, H - 1])
def test_a_png_whose_stream_ends_early_is_an_error_and_not_black(tmp_path: Path, rows: int) -> None:
    write_chunks(tmp_path / "a.png", png_header(), (b"IDAT", zlib.compress(png_rows(rows))), (b"IEND", b""))
    expected = f"its pixels end after {rows * (1 + 3 * W)} of {H * (1 + 3 * W)} bytes"
    assert f"this image is damaged ({expected})" in error_of(tmp_path / "a.png")


@pytest.mark.parametrize(("height", "width"), [(H, W), (H - 1, W), (1, 9), (2, 1), (9, 3)])
def test_an_interlaced_png_whose_stream_ends_early_is_an_error(tmp_path: Path, height: int, width: int) -> None:
    pixels = make_pixels(3, height, width) // 2 + 64
    stream = b"".join(
        b"".join(b"\0" + row.tobytes() for row in pixels[top::down, left::step] if row.size)
        for left, top, step, down in ADAM7
    )
    header = b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1)
    for size in {*range(1, len(stream), max(1, len(stream) // 20)), len(stream) - 1}:
        write_chunks(tmp_path / "a.png", header, (b"IDAT", zlib.compress(stream[:size])), (b"IEND", b""))
        assert "this image is damaged" in error_of(tmp_path / "a.png")
    write_chunks(tmp_path / "a.png", header, (b"IDAT", zlib.compress(stream)), (b"IEND", b""))
    assert np.array_equal(read_image(tmp_path / "a.png").pixels.permute(1, 2, 0), pixels)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
def test_an_image_that_is_black_at_its_end_is_read(tmp_path: Path, mode: str) -> None:
    image = make_image().convert(mode)
    image.paste(0 if mode in ("1", "L", "P") else (0,) * len(mode), (0, H // 2, W, H))
    image.save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").pixels.shape[1:] == (H, W)
    assert find_png_damage(tmp_path / "a.png") == ""


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (3, 5), (9, 9), (56, 48)])
@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("interlace", [0, 1])
def test_the_bytes_of_all_rows_are_counted_right(
    tmp_path: Path, size: tuple[int, int], depth: int, interlace: int
) -> None:
    """For each pass of Adam7 (PNG, third edition, section 8.1) the rows are written as the standard says."""
    w, h = size
    rows = b""
    for left, top, step, down in ADAM7 if interlace else [(0, 0, 1, 1)]:
        columns = len(range(left, w, step))
        rows += (b"\0" + b"\xff" * -(-columns * depth // 8)) * len(range(top, h, down)) if columns else b""
    header = b"IHDR", struct.pack(">IIBBBBB", w, h, depth, 0, 0, 0, interlace)
    for stream, is_whole in ((rows, True), (rows[:-1], False)):
        write_chunks(tmp_path / "a.png", header, (b"IDAT", zlib.compress(stream)), (b"IEND", b""))
        assert (find_png_damage(tmp_path / "a.png") == "") == is_whole
    write_chunks(tmp_path / "a.png", header, (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    assert (read_image(tmp_path / "a.png").pixels == 255).all()


def test_wrong_checksums_and_a_missing_end_are_found(tmp_path: Path) -> None:
    save()(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    assert find_png_damage(tmp_path / "a.png") == ""
    (tmp_path / "b.png").write_bytes(content[:-12])
    assert find_png_damage(tmp_path / "b.png") == "its end is missing"
    (tmp_path / "c.png").write_bytes(content[:-16] + bytes([content[-16] ^ 1]) + content[-15:])  # the checksum of IDAT
    assert find_png_damage(tmp_path / "c.png") == "wrong checksum of its IDAT chunk"


# Frames and metadata


def test_smaller_copies_of_a_page_are_no_frames(tmp_path: Path) -> None:
    write_tiff_with_overview(tmp_path / "a.tif")
    with Image.open(tmp_path / "a.tif") as image:
        assert image.n_frames == 2
    assert probe(tmp_path / "a.tif").frames == 1
    assert list_lost(tmp_path / "a.tif") == []


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.webp"])
def test_further_frames_are_counted(tmp_path: Path, name: str) -> None:
    write_frames(tmp_path / name)
    assert probe(tmp_path / name).frames == 4
    assert list_lost(tmp_path / name) == [f"3 of 4 {'pages' if name == 'a.tif' else 'frames'}"]


def test_lost_metadata_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sr.image.format.tiff.is_rasterio_installed", lambda: False)
    exif = Image.Exif()
    exif[0x0112], exif[271], exif[306] = 6, "Camera", "2026:11:28 12:00:00"
    exif.get_ifd(34853)[1] = "N"
    make_image().save(tmp_path / "a.jpg", exif=exif, dpi=(300, 300), comment=b"text")
    assert list_lost(tmp_path / "a.jpg") == ["EXIF (date, camera, GPS)", "resolution (300 DPI)", "text"]
    write_tiff(tmp_path / "a.tif", t33550=(300.0, 300.0, 0.0), t33922=(0.0,) * 6, t42112="<GDALMetadata/>")
    assert list_lost(tmp_path / "a.tif") == ["GeoTIFF tags", "GDAL metadata"]
    with_orientation(6)(tmp_path / "b.jpg")  # the orientation is applied, not lost
    save()(tmp_path / "c.png")
    assert [list_lost(tmp_path / name) for name in ("b.jpg", "c.png")] == [[], []]


def test_cut_files_are_still_named_with_their_format(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"II*\0\x08\0\0\0\0\0")
    (tmp_path / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert "is damaged (its header ends early)" in error_of(tmp_path / "a.tif")
    assert "this PNG file is damaged" in error_of(tmp_path / "b.png")
    write_half_png(tmp_path / "c.png")
    assert probe(tmp_path / "c.png")[:2] == (H, W)


def test_a_damaged_pillow_image_is_named_in_the_python_api(tmp_path: Path) -> None:
    ENTRIES["half.png"][1](tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image, pytest.raises(UserError, match="image: this image is damaged"):
        to_pixels(image)
