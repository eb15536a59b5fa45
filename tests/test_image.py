"""Read every supported kind of image file, reject the others with a message, and write PNG files atomically."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sr.image.read import open_image_file, probe, read_image, read_rgb
from sr.image.write import to_pil, to_uint8, write_png
from sr.runtime.error import UserError

H, W = 24, 32
ROTATED = 6  # EXIF orientation: the image has to be rotated by 90° clockwise


def array(channels: int = 3) -> np.ndarray:
    """Return a smooth image, which lossy formats change little."""
    rows, columns = np.mgrid[0:H, 0:W]
    return np.stack([rows * 8, columns * 6, 255 - rows * 4, 128 + columns * 3][:channels], axis=-1).astype(np.uint8)


def make_exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def write_png_16(path: Path) -> None:
    """Write RGB with 16 bits per channel, which Pillow opens as 8-bit RGB without a warning."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array().astype(np.uint16) * 257)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", W, H, 16, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.tiff", "A.PNG"])
def test_lossless_formats_come_back_exactly(tmp_path: Path, name: str) -> None:
    Image.fromarray(array()).save(tmp_path / name)
    decoded = read_image(tmp_path / name)
    assert decoded.pixels.dtype == torch.uint8
    assert np.array_equal(decoded.pixels.permute(1, 2, 0), array())
    assert decoded.alpha is None


@pytest.mark.parametrize("name", ["a.jpg", "a.jpeg", "a.webp"])
def test_lossy_formats_come_back_nearly(tmp_path: Path, name: str) -> None:
    Image.fromarray(array()).save(tmp_path / name, quality=95)
    error = read_image(tmp_path / name).pixels.permute(1, 2, 0).numpy().astype(int) - array()
    assert error.shape == (H, W, 3)
    assert np.abs(error).mean() < 4


@pytest.mark.parametrize("mode", ["L", "1"])
def test_gray_stays_one_channel_and_is_repeated_only_by_read_rgb(tmp_path: Path, mode: str) -> None:
    Image.fromarray(array(1)[..., 0]).convert(mode).save(tmp_path / "a.png")
    pixels, rgb = read_image(tmp_path / "a.png").pixels, read_rgb(tmp_path / "a.png")
    assert pixels.shape == (1, H, W)
    assert pixels.max() > 1
    assert torch.equal(rgb, pixels.expand(3, -1, -1))
    assert probe(tmp_path / "a.png")[:3] == (H, W, "gray")


def test_palette_is_read_as_its_colors(tmp_path: Path) -> None:
    image = Image.fromarray(array()).quantize(16)
    image.save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png").pixels.permute(1, 2, 0), np.array(image.convert("RGB")))
    assert probe(tmp_path / "a.png").kind == "color"


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tif"])
def test_alpha_is_separate_from_the_pixels(tmp_path: Path, name: str) -> None:
    Image.fromarray(array(4)).save(tmp_path / name, lossless=True, exact=True)
    decoded = read_image(tmp_path / name)
    assert np.array_equal(decoded.alpha[0], array(4)[..., 3])
    assert np.array_equal(decoded.pixels.permute(1, 2, 0), array(3))
    assert read_rgb(tmp_path / name).shape == (3, H, W)


def test_gray_with_alpha_stays_gray(tmp_path: Path) -> None:
    Image.fromarray(array(2)).save(tmp_path / "a.png")
    decoded = read_image(tmp_path / "a.png")
    assert np.array_equal(decoded.pixels[0], array(2)[..., 0])
    assert np.array_equal(decoded.alpha[0], array(2)[..., 1])


def test_transparent_color_of_a_palette_becomes_alpha(tmp_path: Path) -> None:
    image = Image.fromarray(array()).quantize(16)
    image.save(tmp_path / "a.png", transparency=3)
    assert np.array_equal(read_image(tmp_path / "a.png").alpha[0] == 0, np.array(image) == 3)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tif"])
def test_exif_orientation_is_applied_and_known_from_the_header(tmp_path: Path, name: str) -> None:
    Image.fromarray(array()).save(tmp_path / name, exif=make_exif(ROTATED), quality=95, lossless=True)
    pixels = read_image(tmp_path / name).pixels
    assert probe(tmp_path / name)[:2] == pixels.shape[1:] == (W, H)
    upright = np.rot90(array(), -1)
    assert np.abs(pixels.permute(1, 2, 0).numpy().astype(int) - upright).mean() < 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_header_gives_the_upright_size_for_every_orientation(tmp_path: Path, orientation: int) -> None:
    Image.fromarray(array()).save(tmp_path / "a.jpg", exif=make_exif(orientation))
    assert probe(tmp_path / "a.jpg")[:2] == read_image(tmp_path / "a.jpg").pixels.shape[1:]


def test_color_profile_is_read_and_written(tmp_path: Path) -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(array()).save(tmp_path / "a.png", icc_profile=profile)
    with open_image_file(tmp_path / "a.png") as file:
        assert file.metadata.icc == profile
        to_pil(file.read().pixels).save(tmp_path / "b.png", icc_profile=file.metadata.icc)
    with open_image_file(tmp_path / "b.png") as file:
        assert file.metadata.icc == profile


def bad_files() -> dict[str, tuple[str, Callable[[Path], object]]]:
    """Return file name -> (text of the message, function that creates the file)."""
    gray_16 = Image.fromarray(array(1)[..., 0].astype(np.uint16) * 257)
    return {
        "gray16.png": ("16", gray_16.save),
        "gray16.tif": ("16", gray_16.save),
        "rgb16.png": ("16", write_png_16),
        "float.tif": ("8-bit", Image.fromarray(array(1)[..., 0].astype(np.float32)).save),
        "text.png": ("not an image", lambda path: path.write_text("I am a letter.")),
        "nothing.png": ("not an image", lambda path: path.write_bytes(b"")),
        "missing.png": ("No such file", lambda path: None),
        "folder.png": ("cannot be read", Path.mkdir),
    }


@pytest.mark.parametrize("name", bad_files())
@pytest.mark.parametrize("read", [read_image, read_rgb])
def test_an_unsupported_file_is_rejected_with_its_name(tmp_path: Path, name: str, read: Callable) -> None:
    reason, create = bad_files()[name]
    create(tmp_path / name)
    with pytest.raises(UserError, match=reason) as error:
        read(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.bmp", "a.tif"])
@pytest.mark.parametrize("fraction", [0.05, 0.5, 0.9])
def test_a_truncated_file_is_rejected_with_its_name(tmp_path: Path, name: str, fraction: float) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)).save(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(len(content) * fraction)])
    with pytest.raises(UserError, match="replace or remove it") as error:
        read_image(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)


def test_probing_a_png_does_not_decode_it(tmp_path: Path) -> None:
    """Its size is read although its pixels are missing: a large folder is checked quickly."""
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
    assert probe(tmp_path / "a.png")[:3] == (60, 80, "color")


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_written_image_is_read_back_unchanged(tmp_path: Path, channels: int) -> None:
    layers = torch.from_numpy(array(channels)).permute(2, 0, 1)
    pixels, alpha = (layers[:-1], layers[-1:]) if channels in (2, 4) else (layers, None)
    write_png(tmp_path / "a.png", to_pil(pixels, alpha))
    decoded = read_image(tmp_path / "a.png")
    assert torch.equal(decoded.pixels, pixels)
    assert (decoded.alpha is None and alpha is None) or torch.equal(decoded.alpha, alpha)


def test_float_to_bytes_is_clamped_and_rounded() -> None:
    levels = torch.tensor([-5.0, 0.49, 0.51, 127.49, 127.51, 255.0, 300.0]) / 255
    assert to_uint8(levels).tolist() == [0, 0, 1, 127, 128, 255, 255]


def test_a_full_disk_leaves_the_old_image_and_no_incomplete_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(self: Image.Image, path: Path, **_: object) -> None:
        Path(path).write_bytes(b"half an image")
        raise OSError(28, "No space left on device")

    target = tmp_path / "a.png"
    target.write_bytes(b"the old one")
    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(UserError, match=r"cannot be written.*No space left") as error:
        write_png(target, to_pil(torch.zeros(3, 4, 4, dtype=torch.uint8)))
    assert str(target) in str(error.value)
    assert target.read_bytes() == b"the old one"
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
