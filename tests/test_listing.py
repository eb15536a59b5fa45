"""The images of a folder, and the words for what is left out of it."""

import gzip
import os
from pathlib import Path

import pytest
from conftest import write_image
from PIL import Image

from sr.data.evaluation_set import list_hr_files
from sr.data.folder import list_folder_images
from sr.image.formats import identify_kind
from sr.image.listing import list_folder, list_images
from sr.runtime.error import UserError

DICOM = bytes(128) + b"DICM" + bytes(20)
CONTENTS = {  # of files that are recognized without their suffix
    "DICOM": DICOM, "NIfTI": bytes(344) + b"n+1\0", "GIF": b"GIF89a", "PDF": b"%PDF-1.7", "EPS": b"%!PS-Adobe",
    "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1", "AVIF": b"\0\0\0\x1cftypavif", "MP4": b"\0\0\0\x20ftypisom", "video": b"FLV\1",
    "MOV": b"\0\0\0\x14ftypqt  ", "WebM": b"\x1a\x45\xdf\xa3\x9f\x42\x82\x84webm",
    "MKV": b"\x1a\x45\xdf\xa3\x9f\x42\x82\x88matroska",
    "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n", "SVG": b'<?xml version="1.0"?>\n<svg width="9">',
    "Netpbm": b"P6\n2 2\n255\n" + bytes(12), "OpenEXR": b"\x76\x2f\x31\x01", "camera RAW": b"II*\0\x10\0\0\0CR\x02\0",
    "FITS": b"SIMPLE  =   T", "BMP": b"BM\x9a\0\0\0\0\0\0\0", "PNG": b"\x89PNG\r\n\x1a\n",
}  # fmt: skip


def fill_folder(folder: Path) -> Path:
    """Write two images, files of six other kinds, a hidden file, and a subfolder with three images and a text."""
    for name in ("b.png", "A.JPG"):
        write_image(folder / name)
    for name in ("c.jxl", "d.jxl", "e.psd", "f.avi", "notes.txt", ".hidden.png"):
        (folder / name).touch()
    (folder / "scan").write_bytes(DICOM)
    for name in ("x.png", "deep/y.png", "deep/z.dcm", "deep/readme.md", ".thumbnails/t.png"):
        (folder / "more" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "more" / name).touch()
    return folder


def test_a_folder_lists_its_images_by_name_and_counts_the_rest(tmp_path: Path) -> None:
    listing = list_folder(fill_folder(tmp_path), "data.path")
    assert [path.name for path in listing.images] == ["A.JPG", "b.png"]
    assert [path.name for path in listing.folders] == ["more"]
    assert listing.describe_left_out() == (
        "left out: 6 of 8 files (2 .jxl, 1 .psd, 1 .avi, 1 .txt, 1 DICOM), 1 folder with 3 images"
    )


def test_what_is_left_out_is_printed_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    list_images(fill_folder(tmp_path), "data.path")
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert f"data.path={tmp_path}: left out: 6 of 8 files (2 .jxl" in printed
    monkeypatch.setenv("LOCAL_RANK", "1")  # another process of the same training says it
    list_images(tmp_path, "data.path")
    assert capsys.readouterr().err == ""
    monkeypatch.delenv("LOCAL_RANK")
    write_image(tmp_path / "clean" / "a.png")
    list_images(tmp_path / "clean", "data.path")
    assert capsys.readouterr().err == ""


def test_a_folder_called_like_an_image_is_a_folder(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png")
    write_image(tmp_path / "b.png" / "c.png")
    listing = list_folder(tmp_path, "input")
    assert [path.name for path in listing.images] == ["a.png"]
    assert listing.describe_left_out() == "left out: 1 folder with 1 image"


def test_an_evaluation_set_that_would_shrink_is_an_error(tmp_path: Path) -> None:
    folder = fill_folder(tmp_path / "Mine")
    with pytest.raises(UserError) as error:
        list_hr_files(folder, "data.test")
    assert str(error.value).startswith(f"data.test={folder}: ")
    assert "5 of 7 are not: c.jxl (JPEG XL), d.jxl (JPEG XL), e.psd (Photoshop), f.avi (video), scan (DICOM)" in str(
        error.value
    )
    for name in ("c.jxl", "d.jxl", "e.psd", "f.avi", "scan"):
        (folder / name).unlink()
    assert [path.name for path in list_hr_files(folder, "data.test")] == ["A.JPG", "b.png"]  # a text is no image


def test_a_folder_without_images_says_what_it_holds(tmp_path: Path) -> None:
    for k in range(32):
        (tmp_path / "series" / f"{k}.mha").parent.mkdir(exist_ok=True)
        (tmp_path / "series" / f"{k}.mha").write_bytes(b"ObjectType = Image")
    write_image(tmp_path / "parent" / "calendar" / "a.png")
    with pytest.raises(UserError, match=r"left out: 32 of 32 files \(32 \.mha\).*sr does not read MetaImage yet"):
        list_folder_images(str(tmp_path / "series"), None, tmp_path)
    with pytest.raises(UserError, match=r"left out: 1 folder with 1 image; name the subfolder"):
        list_images(tmp_path / "parent", "data.path")


def test_the_message_about_a_folder_without_images_names_the_option(tmp_path: Path) -> None:
    (tmp_path / "file.png").touch()
    (tmp_path / "empty").mkdir()
    for name, reason in (("missing", "no such folder"), ("file.png", "this is a file"), ("empty", "no images")):
        with pytest.raises(UserError, match=reason) as error:
            list_images(tmp_path / name, "data.path")
        assert str(error.value).startswith(f"data.path={tmp_path / name}")


@pytest.mark.parametrize("name", CONTENTS)
def test_a_kind_is_recognized_by_content_whatever_the_name_says(tmp_path: Path, name: str) -> None:
    for file in ("a", "a.png", "a.dat"):
        (tmp_path / file).write_bytes(CONTENTS[name])
        assert identify_kind(tmp_path / file).name == name


def test_a_dicom_file_that_begins_like_a_tiff_and_a_compressed_nifti_are_recognized(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"II*\0" + bytes(124) + b"DICM")
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(CONTENTS["NIfTI"]))
    (tmp_path / "c.nii.gz").write_bytes(gzip.compress(CONTENTS["NIfTI"])[:12] + b"damaged" * 9)
    assert [identify_kind(tmp_path / x).name for x in ("a.tif", "b.nii.gz", "c.nii.gz")] == ["DICOM", "NIfTI", "NIfTI"]


def test_texts_are_no_images_and_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    for k, text in enumerate(("BMW is a car", "P1 patients", "GIMP", "I am a letter.", "<html><body>")):
        (tmp_path / f"{k}.txt").write_text(text)
        assert identify_kind(tmp_path / f"{k}.txt") is None
    os.mkfifo(tmp_path / "pipe")
    assert identify_kind(tmp_path / "pipe") is None


def test_a_photo_of_a_camera_is_no_tiff(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.dng", format="TIFF")
    assert identify_kind(tmp_path / "a.dng").name == "camera RAW"


@pytest.mark.parametrize("option", ["data.path", "data.test"])
def test_images_next_to_the_subfolder_hr_are_named(tmp_path: Path, option: str, capsys: pytest.CaptureFixture) -> None:
    for name in ("a.png", "b.png", "HR/c.png"):
        write_image(tmp_path / name)
    is_test = option == "data.test"
    files = list_hr_files(tmp_path, option) if is_test else list_folder_images(str(tmp_path), None, tmp_path)
    assert [path.name for path in files] == ["c.png"]
    assert capsys.readouterr().err == f"note: {option}={tmp_path}: left out: 2 image(s) next to the subfolder HR\n"


def test_very_many_files_of_subfolders_are_not_all_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_folder(tmp_path)
    monkeypatch.setattr("sr.image.listing.MAX_COUNTED_FILES", 2)
    assert "1 folder with more than" in list_folder(tmp_path, "data.path").describe_left_out()
