"""DICOM by kind: compressions, palettes, YBR, padding, range=, multi-frame geometry; pydicom is the judge of pixels."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from identity_net import BICUBIC, IDENTITY
from volumes import make_dataset, make_voxels, write_series

from sr.checkpoint.load import LoadedNet
from sr.image.file_format import ReadOptions
from sr.image.format import dicom_range
from sr.image.format.dicom import FORMAT
from sr.image.format.dicom_geometry import read_positions
from sr.image.formats import find_format
from sr.image.read import open_image_file
from sr.prediction.opened_job import UpscaleJob
from sr.prediction.pipeline import iterate_upscaled

pydicom = pytest.importorskip("pydicom", reason="needs sr[medical]")
FILES = Path(pydicom.__file__).parent / "data" / "test_files"
GRAY = ("693_J2KI.dcm", "J2K_pixelrep_mismatch.dcm", "JPEG2000.dcm", "JPEGLSNearLossless_08.dcm", "JPEGLSNearLossless_16.dcm",
        "MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm", "MR_small_jp2klossless.dcm",
        "MR_small_jpeg_ls_lossless.dcm", "MR_small_padded.dcm", "image_dfl.dcm")  # fmt: skip
COLOR = ("ExplVR_BigEnd.dcm", "SC_rgb_rle.dcm", "SC_rgb_rle_16bit.dcm", "SC_rgb_rle_16bit_2frame.dcm",
         "SC_rgb_jls_lossy_line.dcm", "SC_rgb_gdcm_KY.dcm",
         "SC_rgb_small_odd_big_endian.dcm", "SC_rgb_dcmtk_+eb+cy+n1.dcm", "SC_rgb_dcmtk_+eb+cy+s2.dcm",
         "SC_ybr_full_422_uncompressed.dcm", "GDCMJ2K_TextGBR.dcm")  # fmt: skip
REFUSED = {
    "JPGExtended.dcm": "needs pylibjpeg-libjpeg, whose license is GPL-3",
    "SC_rgb_jpeg_gdcm.dcm": "needs pylibjpeg-libjpeg, whose license is GPL-3",
    "SC_rgb_rle_32bit.dcm": "32 bits allocated for a pixel of DICOM are not read",
    "rtdose_rle.dcm": "holds no image but radiotherapy data",
    "rtplan.dcm": "holds no image but radiotherapy data",
    "test-SR.dcm": "holds no image but a structured report",
    "liver_1frame.dcm": "holds no image but a segmentation",
    "MR_truncated.dcm": "this image is damaged (its pixels end after",
}


def copy(name: str, folder: Path) -> Path:
    """Copy a file of pydicom's wheel; never download one."""
    if not (FILES / name).is_file():
        pytest.skip(f"this pydicom has no {name}")
    return Path(shutil.copy(FILES / name, folder / "a.dcm"))


def upscale(source: Path, net: LoadedNet = IDENTITY, value_range: Any = None) -> Any:
    """Return the result of a file as pydicom reads it."""
    target = source.with_name("b.dcm")
    (result,) = iterate_upscaled(net, [UpscaleJob(source, target, FORMAT, read=ReadOptions(range=value_range))])
    assert result.error is None, result.error
    return pydicom.dcmread(target)


@pytest.mark.parametrize("name", GRAY)
def test_gray_of_each_compression_has_the_pixels_that_pydicom_reads(tmp_path: Path, name: str) -> None:
    after, before = upscale(copy(name, tmp_path)), pydicom.dcmread(FILES / name)
    padding = before.get("PixelPaddingValue")
    expected, found = before.pixel_array, after.pixel_array
    assert after.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
    assert np.array_equal(found[expected != padding], expected[expected != padding])


@pytest.mark.parametrize("name", COLOR)
def test_color_of_each_compression_has_the_pixels_that_pydicom_reads(tmp_path: Path, name: str) -> None:
    after, expected = upscale(copy(name, tmp_path)), pydicom.pixels.pixel_array(FILES / name)  # RGB of YBR
    assert after.PhotometricInterpretation == "RGB"
    assert np.array_equal(after.pixel_array, expected)


def test_a_palette_becomes_the_colors_that_pydicom_looks_up(tmp_path: Path) -> None:
    source = copy("examples_palette.dcm", tmp_path)
    before = pydicom.dcmread(source)
    expected = pydicom.pixels.apply_color_lut(before.pixel_array, before)
    after = upscale(source)
    assert (after.PhotometricInterpretation, after.SamplesPerPixel, after.BitsStored) == ("RGB", 3, 8)
    assert "RedPaletteColorLookupTableData" not in after
    assert np.array_equal(after.pixel_array, expected >> 8 if expected.dtype == np.uint16 else expected)


@pytest.mark.parametrize("name", REFUSED)
def test_a_kind_that_is_not_read_is_refused_by_name(tmp_path: Path, name: str) -> None:
    source = copy(name, tmp_path)
    (result,) = iterate_upscaled(IDENTITY, [UpscaleJob(source, tmp_path / "b.dcm", FORMAT)])
    assert str(result.error).startswith(f"{source}: ")
    assert REFUSED[name] in str(result.error)
    assert "\n" not in str(result.error)
    assert not (tmp_path / "b.dcm").exists()


def write_padded(folder: Path, is_padded: bool) -> tuple[Path, np.ndarray]:
    """Write an image with a disk of -2000 around which there is data, or with the smallest value of the data there."""
    plane = make_voxels((3, 40, 36))[1]
    y, x = np.ogrid[:40, :36]
    mask = (y - 12) ** 2 + (x - 20) ** 2 < 60
    plane[mask] = -2000 if is_padded else -250
    plane[0, 0], plane[0, 1] = -250, 900  # the range is the same in both
    dataset = make_dataset(pydicom, plane, "1.2.3.9")
    if is_padded:
        dataset.add_new("PixelPaddingValue", "SS", -2000)
    folder.mkdir()
    dataset.save_as(folder / "a.dcm", enforce_file_format=True)
    return folder / "a.dcm", mask


def test_padding_stays_padding_and_does_not_leak_into_what_is_beside_it(tmp_path: Path) -> None:
    (padded, mask), (plain, _) = (write_padded(tmp_path / str(flag), flag) for flag in (True, False))
    with open_image_file(padded) as file:
        assert file.notes == ("black and white for the network are -250 and 900 (the series)",)
    after, other = upscale(padded, BICUBIC).pixel_array, upscale(plain, BICUBIC).pixel_array
    mask = mask.repeat(2, 0).repeat(2, 1)
    assert (after[mask] == -2000).all()
    assert np.array_equal(after[~mask], other[~mask])
    assert after[~mask].min() >= -250
    same = upscale(padded).pixel_array
    assert np.array_equal(same, pydicom.dcmread(padded).pixel_array)


def test_the_range_of_a_series_includes_what_is_added_without_decoding_the_rest_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded, decode_frame = [], dicom_range.decode_frame

    def record(path: Path, *words: Any) -> np.ndarray:
        decoded.append(path.name)
        return decode_frame(path, *words)

    def add(number: int) -> str:
        write_series(tmp_path / "in", voxels[number - 1 : number], first=number)
        with open_image_file(tmp_path / "in" / f"s{number:03d}") as file:
            return file.notes[0]

    monkeypatch.setattr(dicom_range, "decode_frame", record)
    voxels = np.zeros((4, 8, 8), np.int16)
    voxels[:, 0, 0], voxels[:, 0, 1] = (-10, -20, -5, -1), (100, 300, 200, 1)
    assert "are -10 and 100 (the series)" in add(1)
    assert "are -20 and 300 (the series)" in add(2)
    assert "are -20 and 300 (the series)" in add(3)
    (tmp_path / "in" / "s002").write_bytes(b"damaged")
    assert "are -10 and 200 (the series)" in add(4)
    assert decoded == ["s001", "s002", "s003", "s004"]


def test_a_stated_range_cuts_values_in_the_unit_after_rescale(tmp_path: Path) -> None:
    source = copy("CT_small.dcm", tmp_path)  # slope 1, intercept -1024
    before = pydicom.dcmread(source)
    hounsfield = before.pixel_array.astype(int) + int(before.RescaleIntercept)
    after = upscale(source, value_range=(-160.0, 240.0))
    assert np.array_equal(after.pixel_array.astype(int) + int(after.RescaleIntercept), np.clip(hounsfield, -160, 240))


def test_a_png_of_a_stated_range_is_black_at_its_low_end_and_white_at_its_high_end(tmp_path: Path) -> None:
    image, source = pytest.importorskip("PIL.Image"), copy("CT_small.dcm", tmp_path)
    read = ReadOptions(range=(-160.0, 240.0))
    (result,) = iterate_upscaled(
        IDENTITY, [UpscaleJob(source, tmp_path / "a.png", find_format("png"), read=read, depth=8)]
    )
    assert result.error is None, result.error
    with image.open(tmp_path / "a.png") as file:
        levels = np.asarray(file).astype(int)
    before = pydicom.dcmread(source)
    hounsfield = before.pixel_array.astype(int) + int(before.RescaleIntercept)
    assert np.abs(levels - np.clip((hounsfield + 160) / 400 * 255, 0, 255)).max() <= 0.5
    assert (levels.min(), levels.max()) == (0, 255)


@pytest.mark.parametrize("wrong", ["range=[240,-160]", "range=[1]", "range=wide"])
def test_a_wrong_range_is_an_error_of_one_line(tmp_path: Path, sr: Any, wrong: str) -> None:
    source = copy("CT_small.dcm", tmp_path)
    answer = sr("predict", f"input={source}", f"output={tmp_path}/b.dcm", "device=cpu", wrong)
    assert answer.code == 2
    assert "range=" in answer.err
    assert "Traceback" not in answer.err


def write_enhanced(path: Path) -> list[list[float]]:
    """Write three frames whose geometry is in functional groups, as enhanced MR has it; return their positions."""
    planes = make_voxels((3, 24, 20))
    dataset, item = make_dataset(pydicom, planes[0], "1.2.3.8"), pydicom.Dataset
    for name in ("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "SliceThickness"):
        delattr(dataset, name)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = pydicom.uid.EnhancedMRImageStorage
    dataset.NumberOfFrames, dataset.PixelData = 3, planes.astype("<i2").tobytes()
    shared, measures, orientation = item(), item(), item()
    measures.PixelSpacing, measures.SliceThickness = [0.5, 0.75], 2
    orientation.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    positions, groups = [[1.0, 2.0, 30.0 + k] for k in (0, 4, 2)], []
    for k, place in enumerate(positions):
        group, position = item(), item()
        position.ImagePositionPatient = [place[0] + 2 * k, *place[1:]]
        group.PlanePositionSequence = [position]
        groups.append(group)
    dataset.SharedFunctionalGroupsSequence, dataset.PerFrameFunctionalGroupsSequence = [shared], groups
    dataset.save_as(path, enforce_file_format=True)
    return [[place[0] + 2 * k, *place[1:]] for k, place in enumerate(positions)]


def test_each_frame_of_an_enhanced_file_keeps_its_place(tmp_path: Path) -> None:
    positions = write_enhanced(tmp_path / "a.dcm")
    with open_image_file(tmp_path / "a.dcm") as file:
        assert read_positions(file.source.dataset, 3) == [-1, -3, -5]  # along the normal: y × -z = -x
    after = upscale(tmp_path / "a.dcm", BICUBIC)
    assert (after.NumberOfFrames, after.Rows, after.Columns) == (3, 48, 40)
    assert after.pixel_array.shape == (3, 48, 40)
    measures = after.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert [float(x) for x in measures.PixelSpacing] == [0.25, 0.375]
    assert float(measures.SliceThickness) == 2
    for group, (x, y, z) in zip(after.PerFrameFunctionalGroupsSequence, positions, strict=True):
        # The first pixel's center moves by a quarter of the old spacing: rows to -z, columns along y.
        place = [float(value) for value in group.PlanePositionSequence[0].ImagePositionPatient]
        assert place == pytest.approx([x, y - 0.75 / 4, z + 0.5 / 4], abs=1e-6)
