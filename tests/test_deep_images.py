"""HEIC, JPEG 2000 and AVIF: 10, 12 and 16 bits are read with their white, lossless stays lossless, what is lost is named."""

import importlib.util
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sr.image.damage import UnsupportedImageError
from sr.image.file_format import Frame, Header, Metadata, WriteOptions
from sr.image.formats import find_format
from sr.image.read import open_image_file
from sr.runtime.error import UserError

imagecodecs = pytest.importorskip("imagecodecs", reason="needs sr[images]")
pillow_heif = pytest.importorskip("pillow_heif", reason="needs sr[images]")

H, W = 24, 32
Y, X = np.mgrid[:H, :W]
DEEP = np.stack([X * 31, Y * 42, X * 11 + Y * 20], axis=-1).astype(np.uint16)  # 10 bits: 0…966


def read(path: Path, frame: int = 0) -> tuple[Header, np.ndarray, tuple[str, ...]]:
    with open_image_file(path) as file:
        pixels, alpha, _ = file.read(frame)
        layers = torch.cat([pixels, *([] if alpha is None else [alpha])])
        return file.header, layers.permute(1, 2, 0).numpy(), file.metadata.unread


def copy(source: Path, target: Path, options: WriteOptions) -> None:
    image_format = find_format(target.suffix)
    with open_image_file(source) as file:
        header = image_format.limit_header(file.header)
        writer = image_format.create(target, header, file.metadata, options)
        writer.write(file.read())
        writer.close()


def write_heic(path: Path, *arrays: np.ndarray, bits: int = 10, **options: object) -> None:
    """Write the 10-bit values of `arrays`, or their upper 8 bits, without loss but for the conversion of colors."""
    if bits == 8:
        heif = pillow_heif.from_pillow(Image.fromarray((arrays[0] >> 2).astype(np.uint8)))
    else:
        pillow_heif.options.SAVE_HDR_TO_12_BIT = bits == 12
        heif = pillow_heif.HeifFile()
        for array in arrays:
            mode = {1: "I;16", 3: "RGB;16", 4: "RGBA;16"}[array.shape[2]]
            heif.add_frombytes(mode, array.shape[1::-1], (array << 6).tobytes())
    heif.save(path, quality=-1, chroma=444, **options)


@pytest.mark.parametrize(("bits", "white"), [(8, 255.0), (10, 1023.0), (12, 4095.0)])
def test_heic_is_read_in_its_own_depth(tmp_path: Path, bits: int, white: float) -> None:
    write_heic(tmp_path / "a.heic", DEEP, bits=bits)
    header, pixels, unread = read(tmp_path / "a.heic")
    assert (header.dtype, header.white) == (torch.uint8 if bits == 8 else torch.uint16, white)
    assert np.abs(pixels * (1023 / white) - DEEP).max() < (
        10 if bits == 8 else 6
    )  # of 1023: YCbCr is rounded to integers
    assert unread == ()


def test_heic_has_a_primary_image_and_further_ones(tmp_path: Path) -> None:
    alpha = np.dstack([DEEP, 1023 - DEEP[:, :, :1]])
    write_heic(tmp_path / "a.heic", alpha, 1023 - alpha, alpha[:16, :16], primary_index=1)
    header, primary, _ = read(tmp_path / "a.heic")
    assert (header.frames, header.has_alpha) == (3, True)
    assert np.abs(primary - (1023.0 - alpha)).max() < 6
    assert np.abs(read(tmp_path / "a.heic", 1)[1] - alpha.astype(float)).max() < 6
    with pytest.raises(UnsupportedImageError, match=r"a\.heic: image 3 has 16×16 pixels"):
        read(tmp_path / "a.heic", 2)


def test_gray_heic_is_gray(tmp_path: Path) -> None:
    write_heic(tmp_path / "a.heic", DEEP[:, :, :1])
    header, pixels, _ = read(tmp_path / "a.heic")
    assert (header.kind, header.channels) == ("gray", 1)
    assert np.abs(pixels - DEEP[:, :, :1].astype(float)).max() < 2


def test_metadata_of_heic_are_read_and_its_orientation_is_applied_once(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif.update({274: 6, 271: "Maker"})
    write_heic(tmp_path / "a.heic", DEEP, bits=8, exif=exif.tobytes(), xmp=b"<x:xmpmeta/>", icc_profile=b"profile")
    with open_image_file(tmp_path / "a.heic") as file:
        assert file.header[:2] == file.read().pixels.shape[1:]
        read_exif = Image.Exif()
        read_exif.load(file.metadata.exif)
        assert dict(read_exif) == {271: "Maker", 274: 1}
        assert file.metadata.xmp == b"<x:xmpmeta/>"


def test_heic_is_not_written_and_without_the_extra_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not find_format("heic").can_write
    with pytest.raises(UserError, match="format=heic: HEIC is read, but not written; choose format=jpeg"):
        find_format("heic").limit_header(Header(4, 4, "color"))
    write_heic(tmp_path / "a.heic", DEEP, bits=8)
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    with pytest.raises(UserError, match=r"a\.heic: a HEIC file needs pillow_heif: pip install 'sr\[images\]'"):
        open_image_file(tmp_path / "a.heic")


@pytest.mark.parametrize(("bits", "channels"), [(10, 3), (12, 4), (12, 1)])
def test_avif_is_read_in_its_own_depth(tmp_path: Path, bits: int, channels: int) -> None:
    values = np.dstack([DEEP, DEEP[:, :, :1]])[:, :, :channels]
    (tmp_path / "a.avif").write_bytes(imagecodecs.avif_encode(values.squeeze(), level=100, bitspersample=bits))
    header, pixels, _ = read(tmp_path / "a.avif")
    assert (header.dtype, header.white, header.has_alpha) == (torch.uint16, float((1 << bits) - 1), channels == 4)
    assert np.array_equal(pixels, values)


def test_what_avif_loses_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hdr = imagecodecs.avif_encode(DEEP, level=100, bitspersample=10, primaries=9, transfer=16)
    (tmp_path / "a.avif").write_bytes(hdr)
    assert read(tmp_path / "a.avif")[2] == ("color space BT.2020 PQ (HDR)",)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    header, _, unread = read(tmp_path / "a.avif")
    assert header.dtype == torch.uint8
    assert unread[0] == "10 bits per channel (8 are read; pip install 'sr[images]')"


@pytest.mark.parametrize(("bits", "channels"), [(8, 1), (8, 3), (12, 3), (16, 1), (16, 3), (16, 4)])
def test_lossless_jpeg_2000_stays_lossless(tmp_path: Path, bits: int, channels: int) -> None:
    dtype = np.uint8 if bits == 8 else np.uint16
    values = np.random.default_rng(0).integers(0, 1 << bits, (H, W, channels)).astype(dtype)
    data = imagecodecs.jpeg2k_encode(values.squeeze(), level=0, reversible=True, bitspersample=bits)
    (tmp_path / "a.jp2").write_bytes(data)
    header, pixels, _ = read(tmp_path / "a.jp2")
    assert (header.white, header.has_alpha) == (float((1 << bits) - 1), channels == 4)
    assert np.array_equal(pixels, values)
    copy(tmp_path / "a.jp2", tmp_path / "b.jp2", WriteOptions())
    assert np.array_equal(read(tmp_path / "b.jp2")[1], values)
    copy(tmp_path / "a.jp2", tmp_path / "c.jp2", WriteOptions(quality=40))
    assert (tmp_path / "c.jp2").stat().st_size < 0.9 * (tmp_path / "b.jp2").stat().st_size


def test_lossy_jpeg_2000_has_the_quality_that_is_asked_for(tmp_path: Path) -> None:
    smooth = (DEEP >> 2).astype(np.uint8)
    header, rows = Header(H, W, "color", format="JPEG 2000"), Frame(torch.from_numpy(smooth).permute(2, 0, 1))
    errors = {}
    for name, options in {"20": WriteOptions(20), "90": WriteOptions(90), "exact": WriteOptions(lossless=True)}.items():
        writer = find_format("jp2").create(tmp_path / f"{name}.jp2", header, Metadata(), options)
        writer.write(rows)
        writer.close()
        errors[name] = np.abs(read(tmp_path / f"{name}.jp2")[1].astype(int) - smooth).mean()
    assert errors["exact"] == 0 < errors["90"] < 1.5 < errors["20"]


@pytest.mark.slow
@pytest.mark.parametrize("command", ["vips jp2ksave {}/a.png {}/a.jp2 --lossless", "vips jp2ksave {}/a.png {}/a.j2k --lossless",
                                     "convert {}/a.png -quality 100 {}/a.jp2"])  # fmt: skip
def test_jpeg_2000_of_other_programs_is_read_to_the_last_bit(tmp_path: Path, command: str) -> None:
    words = command.format(tmp_path, tmp_path).split()
    if not shutil.which(words[0]):
        pytest.skip(f"needs {words[0]}")
    values = np.random.default_rng(0).integers(0, 1 << 16, (H, W, 3), dtype=np.uint16)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(values))
    subprocess.run(words, check=True, capture_output=True)
    header, pixels, _ = read(next(tmp_path.glob("a.j*")))
    assert header.white == 65535.0
    assert np.array_equal(pixels, values)
