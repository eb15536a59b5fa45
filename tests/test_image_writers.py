"""What the writers of image formats write, read by programs that are not ours: ImageMagick, ffmpeg, exiftool."""

import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, PngImagePlugin

from sr.image.file_format import Frame, Header, Metadata, WriteOptions
from sr.image.formats import find_format
from sr.image.metadata import list_lost_parts
from sr.image.read import open_image_file
from sr.runtime.error import UserError

needs = {
    program: pytest.mark.skipif(not shutil.which(program), reason=f"{program} is not installed")
    for program in ("convert", "ffmpeg", "exiftool")
}


def run(*words: object) -> bytes:
    """Return what a program prints; it must print no warning."""
    done = subprocess.run(list(map(str, words)), capture_output=True, check=True)
    assert done.stderr == b""
    return done.stdout


def make_layers(count: int, dtype: torch.dtype, height: int = 50, width: int = 37) -> torch.Tensor:
    """Return a smooth image with some noise, `[count, H, W]`, over the whole range of uint8 or uint16."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [np.sin(rows / (3 + k) + columns / 11) + rng.normal(0, 0.1, rows.shape) for k in range(count)]
    top = 65535 if dtype == torch.uint16 else 255
    levels = (np.stack(waves) * 0.5 + 0.5) * top
    return torch.from_numpy(levels.clip(0, top).astype(np.uint16 if dtype == torch.uint16 else np.uint8))


def write(path: Path, layers: torch.Tensor, metadata: Metadata | None = None, rows: int = 7, **options: int) -> None:
    """Write layers, the last of two or four being alpha, some rows at a time."""
    channels = 1 if len(layers) < 3 else 3
    has_alpha = len(layers) in (2, 4)
    image_format = find_format(path.suffix)
    header = Header(
        *layers.shape[1:], "gray" if channels == 1 else "color", 1, "PNG", channels, has_alpha, layers.dtype
    )
    header = image_format.limit_header(header)
    writer = image_format.create(path, header, metadata or Metadata(), WriteOptions(**options))
    for start in range(0, header.height, rows):
        part = layers[:, start : start + rows]
        writer.write(Frame(part[:channels], part[channels:] if has_alpha else None))
    writer.close()


@needs["convert"]
@needs["ffmpeg"]
@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16], ids=str)
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_png_written_in_strips_has_every_pixel_in_other_programs(
    tmp_path: Path, count: int, dtype: torch.dtype
) -> None:
    layers, path = make_layers(count, dtype), tmp_path / "a.png"
    write(path, layers)
    expected = layers.permute(1, 2, 0).numpy()
    bits = 8 * dtype.itemsize
    kind = {1: "gray", 2: "graya", 3: "rgb", 4: "rgba"}[count]
    printed = run("convert", path, "-depth", bits, "-endian", "LSB", f"{kind}:-")
    assert np.array_equal(np.frombuffer(printed, expected.dtype).reshape(expected.shape), expected)
    pixels = {8: ("gray", "ya8", "rgb24", "rgba"), 16: ("gray16le", "ya16le", "rgb48le", "rgba64le")}[bits][count - 1]
    printed = run("ffmpeg", "-v", "error", "-i", path, "-f", "rawvideo", "-pix_fmt", pixels, "-")
    assert np.array_equal(np.frombuffer(printed, expected.dtype).reshape(expected.shape), expected)


def test_a_png_of_graphics_is_as_small_as_pillow_makes_it(tmp_path: Path) -> None:
    page = Image.new("RGB", (400, 300), "white")
    text = "\n".join(f"{k} bicubic {k * 0.37:.2f} dB, bilinear {k * 0.31:.2f} dB, nearest" for k in range(25))
    ImageDraw.Draw(page).multiline_text((5, 5), text, "black")
    graphic = np.array(page)
    Image.fromarray(graphic).save(tmp_path / "pillow.png")
    write(tmp_path / "a.png", torch.from_numpy(graphic).permute(2, 0, 1), rows=64)
    assert (tmp_path / "a.png").stat().st_size < 1.1 * (tmp_path / "pillow.png").stat().st_size


@needs["convert"]
@needs["ffmpeg"]
@pytest.mark.parametrize(("count", "quality"), [(1, 95), (3, 95), (3, 80)], ids=["gray", "4:4:4", "4:2:0"])
def test_a_jpeg_written_in_strips_has_the_pixels_of_the_whole_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, quality: int
) -> None:
    """Twelve strips: the number of a restart marker begins again after the eighth."""
    monkeypatch.setattr("sr.image.jpeg_writer.STRIP_PIXELS", 1)
    layers, path = make_layers(count, torch.uint8, 185, 101), tmp_path / "a.jpg"
    write(path, layers, quality=quality)
    buffer, array = io.BytesIO(), layers.permute(1, 2, 0).numpy()
    subsampling = 2 if quality <= 90 else 0
    Image.fromarray(array[:, :, 0] if count == 1 else array).save(
        buffer, format="JPEG", quality=quality, subsampling=subsampling
    )
    with Image.open(path) as ours, Image.open(buffer) as whole:
        assert np.array_equal(np.array(ours), np.array(whole))
    assert b"\xff\xd7" in path.read_bytes()
    assert path.stat().st_size < 1.02 * len(buffer.getvalue()) + 200
    (tmp_path / "whole.jpg").write_bytes(buffer.getvalue())
    for words in (("convert", "FILE", "rgb:-"), ("ffmpeg", "-v", "error", "-i", "FILE", "-f", "rawvideo", "-")):
        decoded = [
            run(*(file if word == "FILE" else word for word in words)) for file in (path, tmp_path / "whole.jpg")
        ]
        assert decoded[0] == decoded[1] != b""


def test_an_image_that_is_too_large_for_its_format_is_refused_with_another_format() -> None:
    for name, side in (("jpeg", 65501), ("webp", 16384)):
        with pytest.raises(UserError, match=rf"format={name}: .*\(found {side}×9\); choose format=png"):
            find_format(name).limit_header(Header(9, side, "color"))
    assert find_format("jpeg").limit_header(Header(9, 65500, "color", has_alpha=True)).has_alpha is False


def make_exif() -> bytes:
    """Return EXIF with orientation 6, camera, date, place, a maker note, the size, and a thumbnail."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x0132] = 6, "Camera", "2026:11:28 12:00:00"
    exif.get_ifd(0x8769).update({0xA002: 37, 0xA003: 50, 0x927C: b"made by the camera"})
    exif.get_ifd(0x8825).update({1: "N", 2: (47.0, 30.0, 0.0)})
    data = bytearray(exif.tobytes().removeprefix(b"Exif\0\0"))
    order = "<" if data[:2] == b"II" else ">"
    entries = int.from_bytes(data[8:10], "little" if order == "<" else "big")
    import struct

    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(buffer, format="JPEG")
    struct.pack_into(f"{order}I", data, 10 + 12 * entries, len(data))  # the link to the second directory
    start = len(data) + 2 + 2 * 12 + 4
    data += struct.pack(f"{order}HHHIIHHIII", 2, 0x0201, 4, 1, start, 0x0202, 4, 1, len(buffer.getvalue()), 0)
    return bytes(data) + buffer.getvalue()


@needs["exiftool"]
@pytest.mark.parametrize(("source", "suffix"), [("jpg", ".jpg"), ("jpg", ".png"), ("png", ".webp"), ("webp", ".avif"),
                                               ("avif", ".jpg"), ("png", ".tif")])  # fmt: skip
def test_metadata_are_as_before_in_exiftool_but_for_what_has_changed(tmp_path: Path, source: str, suffix: str) -> None:
    import json

    from PIL import ImageCms

    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Descript' \
          b'ion xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:xmp="http://ns.adobe.com/xap/1.0/" tiff:Orientation="6" ' \
          b'xmp:Rating="4"/></rdf:RDF></x:xmpmeta>'  # fmt: skip
    texts = PngImagePlugin.PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", xmp.decode())
    options = {"pnginfo": texts} if source == "png" else {"xmp": xmp}
    path = tmp_path / f"before.{source}"
    Image.fromarray(make_layers(3, torch.uint8).permute(1, 2, 0).numpy()).save(
        path, exif=b"Exif\0\0" + make_exif(), icc_profile=icc, dpi=(300, 300), **options
    )
    with open_image_file(path) as file:
        assert file.header[:2] == (37, 50)
        pixels, result = file.read().pixels, tmp_path / f"after{suffix}"
        write(result, pixels.repeat_interleave(2, 1).repeat_interleave(2, 2), file.metadata)
    before, after = json.loads(
        run(
            "exiftool",
            "-q",
            "-json",
            "-G1",
            "-n",
            "-a",
            "-u",
            "-b",
            "-warning",
            "-error",
            "-all",
            path,
            result,
        )
    )
    of_file = (
        "System",
        "File",
        "Composite",
        "ExifTool",
        "JFIF",
        "IFD1",
        "PNG",
        "PNG-pHYs",
        "RIFF",
        "QuickTime",
        "Meta",
    )
    names = {name for name in before if name.split(":")[0] not in (*of_file, "SourceFile")}
    changed = {name: (before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)}
    assert changed.pop("IFD0:Orientation", (6, 1)) in ((6, 1), (6, None))  # AVIF states it outside of EXIF
    assert after.get("IFD0:Orientation", 1) == 1
    assert changed == {
        "XMP-tiff:Orientation": (6, 1),
        "ExifIFD:ExifImageWidth": (37, 100),
        "ExifIFD:ExifImageHeight": (50, 74),
    }
    assert "IFD1:ThumbnailImage" in before or source == "avif"  # Pillow's AVIF has none
    assert {"IFD0:Make", "GPS:GPSLatitudeRef", "ICC_Profile:ProfileDescription", "XMP-xmp:Rating"} <= names
    assert not any(name.startswith("IFD1") or "Warning" in name or "Error" in name for name in after)
    dpi = {".jpg": after.get("JFIF:XResolution"), ".png": after.get("PNG-pHYs:PixelsPerUnitX")}.get(suffix)
    assert source == "avif" or dpi == {".jpg": 300, ".png": 11811}.get(suffix)  # AVIF has no resolution


def test_texts_are_copied_or_named_as_lost(tmp_path: Path) -> None:
    texts = {"Title": "Größe", "comment": "a text"}
    write(tmp_path / "a.png", make_layers(3, torch.uint8), Metadata(texts=texts))
    with open_image_file(tmp_path / "a.png") as file:
        assert file.metadata.texts == texts
        lost = {name: list_lost_parts(file, file.header, find_format(name).held) for name in ("png", "jpeg", "webp")}
        assert lost == {"png": [], "jpeg": ["text"], "webp": ["text"]}
        write(tmp_path / "b.jpg", file.read().pixels, file.metadata)
    with open_image_file(tmp_path / "b.jpg") as file:
        assert file.metadata.texts == {"comment": "a text"}
        assert list_lost_parts(file, file.header, find_format("gif").held) == []


def test_a_lossless_webp_stays_lossless(tmp_path: Path) -> None:
    layers = make_layers(3, torch.uint8)
    Image.fromarray(layers.permute(1, 2, 0).numpy()).save(tmp_path / "a.webp", lossless=True)
    with open_image_file(tmp_path / "a.webp") as file:
        write(tmp_path / "b.webp", file.read().pixels, file.metadata)
        write(tmp_path / "c.webp", file.read().pixels, file.metadata, quality=60)
    found = []
    for name in ("b.webp", "c.webp"):
        with open_image_file(tmp_path / name) as file:
            found.append(torch.equal(file.read().pixels, layers))
    assert found == [True, False]


def test_damaged_exif_is_named_and_costs_nothing_else(tmp_path: Path) -> None:
    exif = make_exif()
    place = exif.index(b"\x69\x87" if exif[:2] == b"II" else b"\x87\x69") + 8  # where the inner directory begins
    far = exif[:place] + b"\xff\xff\xff\x7f" + exif[place + 4 :]
    for damaged in (far, exif[:4] + b"\xff\xff\xff\x7f" + exif[8:]):
        layers = make_layers(3, torch.uint8)
        Image.fromarray(layers.permute(1, 2, 0).numpy()).save(
            tmp_path / "a.jpg", exif=b"Exif\0\0" + damaged, dpi=(300, 300), comment=b"a text"
        )
        with open_image_file(tmp_path / "a.jpg") as file:
            assert file.metadata.unread == ("EXIF that cannot be read",)
            assert (file.metadata.exif, file.metadata.dpi) == (None, (300.0, 300.0))
            assert file.metadata.texts == {"comment": "a text"}
            write(tmp_path / "b.jpg", file.read().pixels, file.metadata)
