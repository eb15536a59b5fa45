"""TIFF: what others write is read to the last bit, what is read is written back, and a window decodes only what it touches."""

import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from file_kinds import write_tiff

from sr.image.damage import UnsupportedImageError
from sr.image.file_format import Frame, Header, Metadata, Window, WriteOptions
from sr.image.format.tiff import FORMAT, TiffImage
from sr.image.format.tiff_write import TiffWriter
from sr.image.metadata import list_lost_parts
from sr.image.read import open_image_file
from sr.runtime.error import UserError

tifffile = pytest.importorskip("tifffile", reason="needs sr[images]")
pytest.importorskip("imagecodecs", reason="needs sr[images]")

H, W = 37, 53
RNG = np.random.default_rng(0)
RGB8 = RNG.integers(0, 256, (H, W, 3), dtype=np.uint8)
RGB16 = RNG.integers(0, 1 << 16, (H, W, 3), dtype=np.uint16)
FLOAT = (RNG.random((H, W, 3), dtype=np.float32) * 500 - 100).astype(np.float32)


def read(path: Path, frame: int = 0, window: Window | None = None) -> np.ndarray:
    """Return a frame, or a window of it, as `[H, W, channels]` with alpha as the last channel."""
    with open_image_file(path) as file:
        pixels, alpha, _ = file.read(frame, window)
        return torch.cat([pixels, *([] if alpha is None else [alpha])]).permute(1, 2, 0).numpy()


def copy(source: Path, target: Path, rows: int = 10) -> None:
    """Copy a file through the reader and the writer, `rows` at a time, as sr.predict does."""
    with open_image_file(source) as file:
        header = FORMAT.limit_header(file.header)
        writer = FORMAT.create(target, header, file.metadata, WriteOptions())
        for frame in range(header.frames):
            for top in range(0, header.height, rows):
                window = Window(top, 0, min(rows, header.height - top), header.width)
                writer.write(file.read(frame, window))
        writer.close()


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with PNG files of the pixels that the other programs convert."""
    import imagecodecs

    folder = tmp_path_factory.mktemp("sources")
    (folder / "8.png").write_bytes(imagecodecs.png_encode(RGB8))
    (folder / "16.png").write_bytes(imagecodecs.png_encode(RGB16))
    (folder / "gray16.png").write_bytes(imagecodecs.png_encode(RGB16[:, :, 0].copy()))
    return folder


BILEVEL = np.where(RGB8[:, :, 1:2] < 128, 0, 255)
FOREIGN = {  # command, the pixels that it wrote, largest difference
    "vips_tiles": ("vips tiffsave 8.png {} --tile --tile-width 16 --tile-height 32 --compression lzw", RGB8, 0),
    "vips_pyramid": ("vips tiffsave 8.png {} --tile --pyramid --tile-width 16 --tile-height 16 --compression deflate", RGB8, 0),
    "vips_16": ("vips tiffsave 16.png {} --compression zstd --predictor horizontal", RGB16, 0),
    "vips_float": ("vips linear 16.png {}[compression=deflate,predictor=float] 0.5 7", RGB16 * np.float32(0.5) + 7, 0),
    "vips_big": ("vips tiffsave 8.png {} --bigtiff --compression none", RGB8, 0),
    "vips_gray_16": ("vips tiffsave gray16.png {} --tile --tile-width 16 --tile-height 16", RGB16[:, :, :1], 0),
    "im_planar": ("convert 8.png -compress Zip -interlace plane {}", RGB8, 0),
    "im_lzw_16": ("convert 16.png -compress LZW -endian MSB {}", RGB16, 0),
    "im_float_64": ("convert 16.png -define quantum:format=floating-point -depth 64 {}", RGB16 / np.float32(65535), 1e-6),
    "im_bilevel": ("convert 8.png -channel G -separate -threshold 50% -compress Group4 {}", BILEVEL, 0),
    "vips_white_is_zero": ("vips extract_band 8.png {}[miniswhite] 1", RGB8[:, :, 1:2], 0),
    "im_palette": ("convert 8.png -crop 16x16+0+0 +repage -type Palette -compress LZW {}", RGB8[:16, :16], 0),
    "im_rotated": ("convert 8.png -orient RightTop {}", np.rot90(RGB8, -1), 0),
    "im_cmyk": ("convert 8.png -colorspace CMYK -compress LZW {}", RGB8, 2),
    "im_cmyk_16": ("convert 16.png -colorspace CMYK {}", RGB16, 3),
    "im_lab_16": ("convert 16.png -colorspace Lab {}", None, 0),
    "im_alpha_16": ("convert 16.png -alpha set -channel A -evaluate set 40% {}",
                    np.concatenate([RGB16, np.full((H, W, 1), 26214, np.uint16)], axis=2), 0),
    "ffmpeg_16": ("ffmpeg -v error -i 16.png -pix_fmt rgb48le -compression_algo deflate {}", RGB16, 0),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", FOREIGN)
def test_what_other_programs_write_is_read_in_whole_and_in_windows(tmp_path: Path, sources: Path, name: str) -> None:
    command, expected, tolerance = FOREIGN[name]
    path = tmp_path / "a.tif"
    words = command.format(path).split()
    if not shutil.which(words[0]):
        pytest.skip(f"needs {words[0]}")
    subprocess.run(words, cwd=sources, check=True, capture_output=True)
    found = read(path)
    if expected is not None:
        assert found.shape == expected.shape
        assert np.abs(found.astype(np.float64) - expected).max() <= tolerance
    for window in (Window(3, 5, 11, 7), Window(0, 0, 16, 16), Window(8, 1, 8, 15)):
        top, left, height, width = window
        assert np.array_equal(read(path, 0, window), found[top : top + height, left : left + width])
    copy(path, tmp_path / "b.tif")
    assert np.array_equal(read(tmp_path / "b.tif"), found)  # to the last bit


def test_lab_of_16_bits_is_converted_as_that_of_8_bits(tmp_path: Path) -> None:
    lab = np.stack(np.meshgrid([90, 128, 200], [120, 128, 140], [115, 128, 140]), axis=-1).reshape(1, 27, 3)
    tifffile.imwrite(tmp_path / "8.tif", (lab ^ [0, 128, 128]).astype(np.uint8), photometric="cielab")
    signed = np.concatenate([lab[..., :1] * 257, (lab[..., 1:] - 128) * 256], axis=-1)
    tifffile.imwrite(tmp_path / "16.tif", signed.astype(np.uint16), photometric="cielab")
    by_little_cms = read(tmp_path / "8.tif")
    assert np.abs(read(tmp_path / "16.tif") / 257 - by_little_cms).max() < 1
    assert by_little_cms[0, 13].tolist() == [119, 119, 119]  # L 50.2, a 0, b 0


def test_a_page_is_a_frame_and_pages_of_other_sizes_are_named(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for page in (RGB8, 255 - RGB8, RGB8[:20, :30]):
            writer.write(page, photometric="rgb", metadata=None)
    with open_image_file(tmp_path / "a.tif") as file:
        assert file.header.frames == 3
        assert np.array_equal(file.read(1).pixels.permute(1, 2, 0), 255 - RGB8)
        with pytest.raises(
            UnsupportedImageError, match=r"page 3 has 30×20 pixels of 3 channels .uint8., the first one 53×37"
        ):
            file.read(2)


@pytest.mark.parametrize(
    ("values", "black", "white"),
    [([0.0, 0.25, 1.0], 0.0, 1.0), ([-3.5, 2.0, 1000.0], -3.5, 1000.0), ([7.0, 7.0, 7.0], 7.0, 8.0)],
)  # fmt: skip
def test_the_range_of_float_is_0_to_1_or_that_of_the_file(
    tmp_path: Path, values: list[float], black: float, white: float
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.array([values], np.float64), metadata=None)
    with open_image_file(tmp_path / "a.tif") as file:
        assert file.header[5:10] == (1, False, torch.float32, black, white)
        assert file.read().pixels.tolist() == [[values]]
        assert file.metadata.unread == ("float64 beyond the 24 bits of float32",)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_pixels_that_are_not_data_are_refused(tmp_path: Path, value: float) -> None:
    pixels = FLOAT.copy()
    pixels[30, 2, 1] = value
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb")
    with (
        open_image_file(tmp_path / "a.tif") as file,
        pytest.raises(UserError, match=r"a\.tif: pixels that are NaN or infinite \(the first one in row 31\)"),
    ):
        _ = file.header


def test_12_bits_are_read_with_white_4095(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", np.arange(60, dtype=np.uint16).reshape(6, 10) * 69, bitspersample=12, compression=None
    )
    with open_image_file(tmp_path / "a.tif") as file:
        assert (file.header.dtype, file.header.white) == (torch.uint16, 4095.0)
        assert file.read().pixels.flatten().tolist() == [k * 69 for k in range(60)]
        assert FORMAT.limit_header(file.header).white == 65535.0


def test_premultiplied_alpha_is_divided_out(tmp_path: Path) -> None:
    pixels = np.array([[[50, 100, 10, 100], [7, 8, 9, 0], [1, 2, 3, 255]]], np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=["assocalpha"])
    assert read(tmp_path / "a.tif").tolist() == [[[127, 255, 25, 100], [7, 8, 9, 0], [1, 2, 3, 255]]]


def test_bands_are_read_as_bands(tmp_path: Path) -> None:
    bands = RNG.integers(0, 1 << 16, (6, H, W), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", bands, photometric="minisblack", planarconfig="separate")
    with open_image_file(tmp_path / "a.tif") as file:
        assert (file.header.kind, file.header.channels, file.header.has_alpha) == ("color", 6, False)
    assert np.array_equal(read(tmp_path / "a.tif"), bands.transpose(1, 2, 0))
    copy(tmp_path / "a.tif", tmp_path / "b.tif")
    assert np.array_equal(read(tmp_path / "b.tif"), bands.transpose(1, 2, 0))


def count_decoded(path: Path, windows: list[Window], monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """Return how many strips or tiles are decoded for some windows, and how many are in the cache at most."""
    from sr.image.format.tiff_segments import SegmentReader

    decoded, cached = [], []
    decode = SegmentReader._decode
    monkeypatch.setattr(
        SegmentReader, "_decode", lambda self, index, n: (decoded.append(index), decode(self, index, n))[1]
    )
    with open_image_file(path) as file:
        assert isinstance(file, TiffImage)
        for window in windows:
            file.read(0, window)
            cached.append(len(file._segments._decoded))
    return len(decoded), max(cached)


def test_a_window_decodes_the_tiles_that_it_touches_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((160, 160, 3), np.uint8), tile=(16, 16), compression="deflate")
    grid = [Window(top, left, 20, 20) for top in range(0, 160, 20) for left in range(0, 160, 20)]
    assert count_decoded(tmp_path / "a.tif", grid[:1], monkeypatch)[0] == 4  # of 100
    decoded, cached = count_decoded(tmp_path / "a.tif", grid, monkeypatch)
    assert decoded == 100
    assert cached <= 30  # three rows of tiles


def test_one_huge_strip_is_decoded_once_and_an_uncompressed_one_never(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = RNG.integers(0, 256, (90, 40), dtype=np.uint8)
    windows = [Window(top, 0, 10, 40) for top in range(0, 90, 10)]
    tifffile.imwrite(tmp_path / "a.tif", pixels, rowsperstrip=90, compression="deflate")
    assert count_decoded(tmp_path / "a.tif", windows, monkeypatch) == (1, 1)
    tifffile.imwrite(tmp_path / "b.tif", pixels, rowsperstrip=90)
    assert count_decoded(tmp_path / "b.tif", windows, monkeypatch) == (0, 0)
    assert np.array_equal(read(tmp_path / "b.tif", 0, windows[4]), pixels[40:50, :, None])


@pytest.mark.parametrize("compression", ["none", "lzw", "deflate", "zstd", "packbits", "jpeg"])
def test_lossless_compression_stays_and_others_become_deflate(tmp_path: Path, compression: str) -> None:
    codes = {"none": 1, "lzw": 5, "zstd": 50000}
    tifffile.imwrite(tmp_path / "a.tif", RGB8, photometric="rgb", compression=compression)
    copy(tmp_path / "a.tif", tmp_path / "b.tif")
    with tifffile.TiffFile(tmp_path / "b.tif") as tiff:
        assert tiff.pages[0].compression == codes.get(compression, 8)
    assert np.array_equal(read(tmp_path / "b.tif"), read(tmp_path / "a.tif"))


def test_strips_are_written_as_the_rows_come(tmp_path: Path) -> None:
    header = Header(1500, 800, "color", format="TIFF")
    rows = torch.from_numpy(RNG.integers(0, 256, (3, 150, 800), dtype=np.uint8))
    writer = FORMAT.create(tmp_path / "a.tif", header, Metadata(), WriteOptions())
    for count in range(1, 11):
        writer.write(Frame(rows))
        size = (tmp_path / "a.tif").stat().st_size
        assert size > (count - 0.8) * 360_000 - 20_000  # of random bytes nothing is saved
    writer.close()
    assert np.array_equal(tifffile.imread(tmp_path / "a.tif"), np.tile(rows.permute(1, 2, 0).numpy(), (10, 1, 1)))


def test_more_than_4_gb_of_pixels_become_a_bigtiff(tmp_path: Path) -> None:
    kinds = []
    for height in (40_000, 48_000):  # × 30,000 × 3 bytes = 3.6 and 4.3 GB
        header = Header(height, 30_000, "color", format="TIFF")
        writer = TiffWriter(tmp_path / "a.tif", header, Metadata())
        writer.close()
        kinds.append(struct.unpack("<2sH", (tmp_path / "a.tif").read_bytes()[:4]))
    assert kinds == [(b"II", 42), (b"II", 43)]


def test_a_bigtiff_is_read_by_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sr.image.format.tiff_write.MAX_CLASSIC_BYTES", 0)
    monkeypatch.setattr("sr.image.format.tiff.is_rasterio_installed", lambda: False)
    write_exif_source(tmp_path / "a.tif")
    copy(tmp_path / "a.tif", tmp_path / "b.tif")
    with tifffile.TiffFile(tmp_path / "b.tif") as tiff:
        assert tiff.is_bigtiff
        assert np.array_equal(tiff.asarray(), RGB8)
        assert tiff.pages[0].tags["ExifTag"].value["ExposureTime"] == 0.004


def write_exif_source(path: Path) -> None:
    """Write a TIFF with a description, a camera, EXIF, resolution, XMP and GeoTIFF tags."""
    from PIL import Image

    exif = Image.Exif()
    exif.update({270: "a description", 271: "Maker", 306: "2026:11:28 12:00:00"})
    exif.update({33550: (1.0, 1.0, 0.0), 700: b"<x:xmpmeta/>", 33723: b"\x1c\x02\x19\x00\x03key"})
    exif.get_ifd(34665).update({33434: 1 / 250, 36867: "2026:11:28 12:00:01"})
    exif[34665] = 0  # or else Pillow does not save it
    Image.fromarray(RGB8).save(path, exif=exif, dpi=(300, 300))


def test_metadata_are_copied_and_geographic_ones_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sr.image.format.tiff.is_rasterio_installed", lambda: False)
    write_exif_source(tmp_path / "a.tif")
    with open_image_file(tmp_path / "a.tif") as file:
        assert file.metadata.unread == ("GeoTIFF tags",)
        assert "IPTC" not in list_lost_parts(file, file.header, FORMAT.held)
        assert "IPTC" in list_lost_parts(file, file.header._replace(format="PNG"), FORMAT.held)
    copy(tmp_path / "a.tif", tmp_path / "b.tif")
    with tifffile.TiffFile(tmp_path / "b.tif") as tiff:
        tags = tiff.pages[0].tags
        assert (tags["ImageDescription"].value, tags["Make"].value) == ("a description", "Maker")
        assert tags["ExifTag"].value["ExposureTime"] == 0.004
        assert tags["ExifTag"].value["DateTimeOriginal"] == "2026:11:28 12:00:01"
        assert (tags["XResolution"].value, int(tags["ResolutionUnit"].value)) == ((300, 1), 2)
        assert tags[700].value == b"<x:xmpmeta/>"
        assert bytes(tags[33723].value) == b"\x1c\x02\x19\x00\x03key"
        assert 33550 not in tags


def test_a_truncated_file_and_a_bomb_are_refused_before_decoding(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", RGB8, photometric="rgb", compression="deflate", rowsperstrip=5)
    data = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match=r"cut\.tif: this image is damaged \("):
        open_image_file(tmp_path / "cut.tif")
    write_tiff(tmp_path / "bomb.tif", t256=4_000_000_000, t257=4_000_000_000, t278=4_000_000_000, t259=8)
    with pytest.raises(UserError, match=r"bomb\.tif: too large to decode: 4000000000×4000000000 pixels need"):
        open_image_file(tmp_path / "bomb.tif")


def test_without_the_extra_8_bits_are_read_and_others_name_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile.imwrite(tmp_path / "8.tif", RGB8, photometric="rgb")
    tifffile.imwrite(tmp_path / "16.tif", RGB16, photometric="rgb")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert np.array_equal(read(tmp_path / "8.tif"), RGB8)
    with pytest.raises(UserError, match=r"16\.tif: .*pip install 'sr\[images\]'"):
        open_image_file(tmp_path / "16.tif")
