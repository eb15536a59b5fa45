"""Damaged DICOM, NIfTI, TIFF and video files: what is read without a word, an independent program reads as well, without one."""

import math
import random
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mutated_files import burst, cut, flip, repeat
from PIL import Image
from torch import Tensor

from sr.image.jpeg_scan import check_jpeg_scans
from sr.image.read import open_image_file
from sr.runtime.error import UserError


def read(path: Path) -> tuple[list[Tensor], str]:
    """Return all frames, and the notes about damage."""
    with open_image_file(path) as file:
        frames = [file.read(number).pixels for number in range(file.header.frames)]
        return frames, " ".join(note for note in file.notes if "damaged" in note or "left out" in note)


@pytest.fixture
def dicom(tmp_path: Path) -> Any:
    """A dataset of 40×30 pixels of 8 bits, which is saved as a.dcm."""
    pydicom = pytest.importorskip("pydicom", reason="needs sr[medical]")
    from volumes import make_dataset

    dataset = make_dataset(pydicom, np.zeros((30, 40), np.int16), "1.2.3")
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PixelData = np.random.default_rng(0).integers(0, 9, 1200, np.uint8).tobytes()
    dataset["PixelData"].VR = "OB"
    dataset.add_new(0xFFFCFFFC, "OB", bytes(20))  # DataSetTrailingPadding
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    return dataset


@pytest.mark.parametrize("change", ["added", "lost"])
def test_bytes_that_are_added_to_pixels_of_dicom_or_lost_are_noticed(tmp_path: Path, dicom: Any, change: str) -> None:
    path = tmp_path / "a.dcm"
    data, place = path.read_bytes(), path.read_bytes().index(dicom.PixelData) + 600
    assert read(path)[1] == ""
    path.write_bytes(data[:place] + b"\7" * 5 + data[place:] if change == "added" else data[:place] + data[place + 5 :])
    with pytest.raises(UserError, match="bytes after its pixels are not DICOM"):
        read(path)


def test_attributes_of_dicom_out_of_order_are_named(tmp_path: Path, dicom: Any) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(path.read_bytes().replace(b"\x18\0\x50\0DS", b"\x98\0\x50\0DS"))  # SliceThickness
    assert "its attributes are not in ascending order" in read(path)[1]


def test_rle_of_another_length_than_the_image_is_an_error(tmp_path: Path, dicom: Any) -> None:
    path = tmp_path / "a.dcm"
    dicom.compress("1.2.840.10008.1.2.5", generate_instance_uid=False)
    dicom.save_as(path, enforce_file_format=True)
    assert read(path)[1] == ""
    data = bytearray(path.read_bytes())
    place = data.index(struct.pack("<II", 1, 64)) + 64  # of the first code: how many bytes follow
    data[place : place + 2] = b"\x81\0"  # 128 zeros
    path.write_bytes(data)
    with pytest.raises(UserError, match="its compressed pixels do not have the length of the image"):
        read(path)


@pytest.fixture
def nifti(tmp_path: Path) -> Path:
    """A volume of 2×3×4 voxels of 16 bits."""
    nibabel, path = pytest.importorskip("nibabel", reason="needs sr[medical]"), tmp_path / "a.nii"
    nibabel.save(nibabel.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4)), path)
    assert read(path)[1] == ""
    return path


@pytest.mark.parametrize(
    ("offset", "value", "reason"),
    [
        (252, struct.pack("<h", 77), "its qform_code is 77"),
        (84, struct.pack("<f", math.nan), "its pixdim is not finite"),
        (280, struct.pack("<f", math.inf), "its srow_x is not finite"),
    ],
)
def test_impossible_values_in_the_header_of_nifti_are_errors(
    nifti: Path, offset: int, value: bytes, reason: str
) -> None:
    data = bytearray(nifti.read_bytes())
    data[offset : offset + len(value)] = value
    nifti.write_bytes(data)
    with pytest.raises(UserError, match=reason):
        read(nifti)


def test_voxels_of_nifti_without_a_size_are_named(nifti: Path) -> None:
    data = bytearray(nifti.read_bytes())
    data[80:84] = bytes(4)  # pixdim[1]
    nifti.write_bytes(data)
    assert "sides of its voxels are 0 or negative" in read(nifti)[1]


def test_a_strip_of_a_geotiff_that_is_longer_than_its_pixels_is_an_error(tmp_path: Path) -> None:
    """GDAL takes the bytes that it needs, and never comes to the checksum."""
    rasterio, path = pytest.importorskip("rasterio", reason="needs sr[satellite]"), tmp_path / "a.tif"
    samples = np.arange(320, dtype=np.uint16).reshape(1, 8, 40)
    options = {"driver": "GTiff", "width": 40, "height": 8, "count": 1, "dtype": "uint16", "nodata": 0}
    with rasterio.open(path, "w", compress="deflate", **options) as file:
        file.write(samples)
    assert read(path)[1] == ""
    data, strip = bytearray(path.read_bytes()), zlib.compress(samples.tobytes()[::-1] + b"more")
    for tag, value in ((273, len(data)), (279, len(strip))):  # StripOffsets, StripByteCounts
        place = data.index(struct.pack("<H", tag), 8)
        data[place : place + 12] = struct.pack("<HHII", tag, 4, 1, value)
    path.write_bytes(data + strip)
    with rasterio.open(path) as file:
        assert file.read().tobytes() == samples.tobytes()[::-1]
    with pytest.raises(UserError, match="does not have the length of its pixels"):
        read(path)


def test_codes_that_do_not_exist_in_fax_and_jpeg_are_errors(tmp_path: Path) -> None:
    pytest.importorskip("imagecodecs", reason="needs sr[images]")
    pytest.importorskip("rasterio", reason="needs sr[satellite]")
    y, x = np.mgrid[:40, :56]
    Image.fromarray((x * y) % 7 > 2).save(tmp_path / "a.tif", compression="group4")
    Image.fromarray((x * 4).astype(np.uint8)).save(tmp_path / "a.jpg", quality=90)
    assert read(tmp_path / "a.tif")[1] == ""
    data = bytearray((tmp_path / "a.tif").read_bytes())
    data[20:60] = bytes(40)
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(UserError, match="damaged"):
        read(tmp_path / "a.tif")
    jpeg = (tmp_path / "a.jpg").read_bytes()
    check_jpeg_scans(jpeg)
    for broken in (jpeg[:-60] + jpeg[-2:], jpeg[:-40] + b"\xff\0" * 9 + jpeg[-22:], jpeg[:-2] + bytes(9) + jpeg[-2:]):
        with pytest.raises(ValueError, match="its compressed pixels"):
            check_jpeg_scans(broken)


def test_what_ffmpeg_warns_of_is_a_note(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="needs sr[video]")
    from clips import write_clip

    path = write_clip(tmp_path / "a.webm", "libvpx-vp9", "yuv420p", range(10), container_options={"live": "1"})
    assert read(path)[1] == ""
    path.write_bytes(path.read_bytes()[:-30])  # a recording that was stopped
    assert "FFmpeg reports: File ended prematurely" in read(path)[1]


def test_frames_of_vp8_that_are_damaged_are_an_error(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="needs sr[video]")
    from clips import write_clip

    path = write_clip(tmp_path / "a.webm", "libvpx", "yuv420p", range(10))
    assert (len(read(path)[0]), read(path)[1]) == (10, "")
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 60] = bytes(60)
    path.write_bytes(data)
    with pytest.raises(UserError, match="this video is damaged"):
        read(path)


CLOSE_WHILE_ANOTHER_IS_SCANNED = """
import contextlib, sys, threading
from pathlib import Path
from sr.image.format.video_library import collect_warnings
from sr.image.read import open_image_file
from sr.runtime.error import UserError

files = [open_image_file(Path(sys.argv[1])) for _ in range(20)]
ended = threading.Event()

def scan():
    with collect_warnings():
        ended.wait()

thread = threading.Thread(target=scan)
thread.start()
for file in files:
    with contextlib.suppress(UserError):
        for number in range(file.header.frames):
            file.read(number)
    file.close()
ended.set()
thread.join()
print("closed")
"""


@pytest.mark.slow(8)
def test_a_damaged_video_can_be_closed_while_another_one_is_scanned(tmp_path: Path) -> None:
    """Its decoder's threads wait for Python to log the damage, and closing the file for these threads."""
    av = pytest.importorskip("av", reason="needs sr[video]")
    from clips import write_clip

    path = write_clip(tmp_path / "a.mp4", "libx264", "yuv420p", range(16), size=(240, 320))
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        for packet in list(container.demux(video=0))[6:-1]:
            middle = packet.pos + packet.size // 2
            data[middle : middle + 20] = bytes(20)
    path.write_bytes(data)
    command = [sys.executable, "-c", CLOSE_WHILE_ANOTHER_IS_SCANNED, path]
    assert subprocess.run(command, capture_output=True, text=True, timeout=200, check=True).stdout == "closed\n"


def write_sources(folder: Path) -> list[Path]:
    """Write sound files of the four kinds, as far as their libraries are installed."""
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 200, (30, 40), np.uint8)
    for name in ("MR_small.dcm", "MR_small_RLE.dcm", "SC_rgb_jpeg_dcmtk.dcm"):
        data = pytest.importorskip("pydicom").data.get_testdata_file(name, download=False)
        shutil.copy(data, folder / name)
    nibabel = pytest.importorskip("nibabel")
    for name in ("a.nii", "b.nii.gz"):
        nibabel.save(
            nibabel.Nifti1Image(pixels.astype(np.int16).reshape(10, 12, 10), np.diag([1, 1, 3, 1])), folder / name
        )
    tifffile = pytest.importorskip("tifffile")
    for name, options in (("a.tif", {}), ("b.tif", {"compression": "deflate"}), ("c.tif", {"compression": "lzw"})):
        tifffile.imwrite(folder / name, pixels, metadata=None, rowsperstrip=8, **options)
    pytest.importorskip("av")
    from clips import write_clip

    write_clip(folder / "a.mp4", "libx264", "yuv420p")
    write_clip(folder / "b.webm", "libvpx-vp9", "yuv420p")
    return sorted(folder.iterdir())


def list_complaints(path: Path) -> str:
    """Return what an independent program says of a file that it finds damaged."""
    if path.suffix == ".gz":
        command = ["gzip", "-t", path]
    else:
        nibabel = "import sys, nibabel; nibabel.load(sys.argv[1]).get_fdata()"
        commands = {".dcm": ["dcmdump"], ".tif": ["gdalinfo", "-checksum"], ".nii": [sys.executable, "-c", nibabel]}
        ffmpeg = ["ffmpeg", "-v", "warning", "-err_detect", "explode", "-xerror", "-i"]
        command = [*commands[path.suffix], path] if path.suffix in commands else [*ffmpeg, path, "-f", "null", "-"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    return done.stderr.strip() or ("" if done.returncode == 0 else f"exit code {done.returncode}")


@pytest.mark.slow(30)
@pytest.mark.skipif(
    not all(map(shutil.which, ("dcmdump", "gdalinfo", "ffmpeg"))), reason="needs dcmtk, gdal-bin, ffmpeg"
)
def test_an_independent_program_finds_no_damage_in_what_is_read_without_a_word(tmp_path: Path) -> None:
    rng, kinds, wrong, silent = random.Random(1), (cut, flip, flip, burst, repeat), [], 0
    for source in write_sources(tmp_path / "sound"):
        sound, before = read(source)
        assert (before, list_complaints(source)) == ("", ""), source.name
        for number in range(10):
            path = tmp_path / source.stem / str(number) / source.name  # alone: a DICOM series is read as a whole
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(kinds[number % 5](source.read_bytes(), rng))
            try:
                frames, notes = read(path)
            except UserError:
                continue
            is_right = len(frames) == len(sound) and all(map(torch.equal, frames, sound))
            if not notes and not is_right:
                silent += 1
                complaints = list_complaints(path)
                wrong += [f"{path}: {complaints}"] if complaints else []
    assert wrong == []
    assert silent > 5  # samples that are not compressed: nobody can know
