"""DICOM in and out of sr.predict: exact pixels, geometry, identifiers, what is refused, and no patient data in logs."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from identity_net import IDENTITY, Bicubic, Identity
from mutated_files import mutate
from test_mutated_images import check_files
from test_predict import run_predict, save_checkpoint
from volumes import SECRETS

from sr.image.format.dicom import FORMAT
from sr.prediction.opened_job import UpscaleJob
from sr.prediction.pipeline import iterate_upscaled
from sr.pretrained.weight_file import write_weights
from sr.runtime.error import UserError

pydicom = pytest.importorskip("pydicom", reason="needs sr[medical]")


def find_file(name: str) -> Path:
    """Return a file of pydicom's wheel; never download one."""
    return Path(pydicom.__file__).parent / "data" / "test_files" / name


def make_gray(path: Path, levels: np.ndarray, kind: str = "MONOCHROME2") -> Path:
    """Write an MR image of these pixels `[h, w]`."""
    dataset = pydicom.dcmread(find_file("MR_small.dcm"))
    bits = 8 * levels.itemsize
    dataset.Rows, dataset.Columns = levels.shape
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit, dataset.PixelRepresentation = bits - 1, int(levels.dtype.kind == "i")
    for name in ("SmallestImagePixelValue", "LargestImagePixelValue", "PixelPaddingValue"):
        if name in dataset:
            del dataset[name]
    dataset.PhotometricInterpretation, dataset.PixelData = kind, levels.tobytes()
    dataset["PixelData"].VR = "OB" if bits == 8 else "OW"
    dataset.save_as(path)
    return path


def make_secret(path: Path) -> Path:
    dataset = pydicom.dcmread(find_file("MR_small.dcm"))
    dataset.PatientName, dataset.PatientID, dataset.InstitutionName = SECRETS
    dataset.save_as(path)
    return path


def find_corners(dataset: Any) -> np.ndarray:
    """Return the positions of the image's corners in mm (PS3.3, C.7.6.2.1.1): the outer edges of the corner pixels."""
    start = np.array(dataset.ImagePositionPatient, float)
    along_row, along_column = np.array(dataset.ImageOrientationPatient, float).reshape(2, 3)
    row, column = (float(value) for value in dataset.PixelSpacing)
    return np.array(
        [
            start + along_row * column * x + along_column * row * y
            for x in (-0.5, dataset.Columns - 0.5)
            for y in (-0.5, dataset.Rows - 0.5)
        ]
    )


@pytest.fixture
def predict(sr: Any, tmp_path: Path) -> Any:
    """`predict(folder or file, output, …)` types sr.predict with a ×2 network."""
    checkpoint = save_checkpoint(tmp_path / "best.ckpt")
    options = f"checkpoint={checkpoint}", "device=cpu", "progress=false"
    return lambda source, out, *words: sr("predict", f"input={source}", f"output={out}", *options, *words)


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [("u1", "MONOCHROME2"), ("u2", "MONOCHROME2"), ("i2", "MONOCHROME2"), ("u1", "MONOCHROME1"), ("i2", "MONOCHROME1")],
)
def test_a_net_that_changes_nothing_gives_the_same_gray_pixels(tmp_path: Path, dtype: str, kind: str) -> None:
    limits = np.iinfo(dtype)
    levels = np.random.default_rng(0).integers(limits.min, limits.max, (33, 21), dtype, endpoint=True)
    source = make_gray(tmp_path / "a.dcm", levels, kind)
    (result,) = iterate_upscaled(IDENTITY, [UpscaleJob(source, tmp_path / "b.dcm", FORMAT)])
    assert result.error is None
    after = pydicom.dcmread(tmp_path / "b.dcm")
    assert (after.PhotometricInterpretation, after.pixel_array.dtype) == (kind, np.dtype(dtype))
    assert np.array_equal(after.pixel_array, levels)


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "SC_rgb_small_odd.dcm", "SC_rgb_rle_2frame.dcm"])
def test_a_net_that_changes_nothing_gives_the_same_pixels_of_files(tmp_path: Path, name: str) -> None:
    source = Path(shutil.copy(find_file(name), tmp_path / "a.dcm"))
    (result,) = iterate_upscaled(IDENTITY, [UpscaleJob(source, tmp_path / "b.dcm", FORMAT)])
    assert result.error is None
    before, after = (pydicom.dcmread(tmp_path / file).pixel_array for file in ("a.dcm", "b.dcm"))
    assert before.dtype == after.dtype
    assert np.array_equal(before, after)


def test_a_series_keeps_its_place_and_gets_new_identifiers(tmp_path: Path, predict: Any) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for k in range(2):
        dataset = pydicom.dcmread(find_file("MR_small.dcm"))
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{k + 1}"
        dataset.InstanceNumber, dataset.PixelSpacing = k + 1, [0.5, 0.75]
        dataset.ImageOrientationPatient, dataset.ImagePositionPatient = [0.6, 0.8, 0, 0, 0, -1], [1, 2, 3 + k]
        dataset.save_as(folder / f"slice{k}")  # no suffix, as archives export them
    answer = predict(folder, out)
    assert answer.code == 0, answer.err
    files = sorted(path for path in out.iterdir() if path.name != "predict.json")
    assert len(files) == 2
    befores = [pydicom.dcmread(folder / f"slice{k}") for k in range(2)]
    afters = sorted((pydicom.dcmread(file) for file in files), key=lambda result: result.InstanceNumber)
    for before, after in zip(befores, afters, strict=True):
        assert (after.Rows, after.Columns) == (2 * before.Rows, 2 * before.Columns)
        assert np.allclose(np.array(after.PixelSpacing, float) * 2, np.array(before.PixelSpacing, float), rtol=1e-6)
        assert np.abs(find_corners(after) - find_corners(before)).max() < 1e-6
        assert after.SOPInstanceUID.is_valid
        assert after.SeriesInstanceUID.is_valid
        assert after.SeriesInstanceUID != before.SeriesInstanceUID
        assert after.StudyInstanceUID == before.StudyInstanceUID
        assert after.FrameOfReferenceUID == before.FrameOfReferenceUID
        assert after.SourceImageSequence[0].ReferencedSOPInstanceUID == before.SOPInstanceUID
        assert after.ImageType[0] == "DERIVED"
        assert after.DerivationDescription
    assert len({after.SOPInstanceUID for after in afters} | {before.SOPInstanceUID for before in befores}) == 4
    assert len({after.SeriesInstanceUID for after in afters}) == 1
    times = [file.stat().st_mtime_ns for file in files]
    assert predict(folder, out).code == 0
    assert [file.stat().st_mtime_ns for file in files] == times


def test_patient_data_are_in_results_and_in_no_message(tmp_path: Path, predict: Any) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    whole = make_secret(folder / "a.dcm").read_bytes()
    (folder / "b.dcm").write_bytes(whole[:-3000])
    answer = predict(folder, out)
    assert answer.code == 2
    assert "b.dcm" in answer.err
    (result,) = (path for path in out.iterdir() if path.name != "predict.json")
    logs = [
        path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.suffix in (".json", ".jsonl", ".log")
    ]
    assert len(logs) >= 1
    for secret in SECRETS:
        assert secret.encode() in result.read_bytes()
        assert all(secret not in text for text in (answer.out, answer.err, *logs))


@pytest.mark.parametrize("name", ["rtdose.dcm", "reportsi.dcm", "waveform_ecg.dcm"])
def test_what_is_no_image_is_refused_by_name(tmp_path: Path, name: str) -> None:
    path = Path(shutil.copy(find_file(name), tmp_path))
    (result,) = iterate_upscaled(IDENTITY, [UpscaleJob(path, tmp_path / "b.dcm", FORMAT)])
    assert isinstance(result.error, UserError)
    assert str(result.error).startswith(f"{path}: ")
    assert not (tmp_path / "b.dcm").exists()


def test_a_png_of_a_given_size(tmp_path: Path, predict: Any) -> None:
    image = pytest.importorskip("PIL.Image")
    shutil.copy(find_file("CT_small.dcm"), tmp_path / "a.dcm")
    answer = predict(tmp_path / "a.dcm", tmp_path / "a.png", "size=200x")
    assert answer.code == 0, answer.err
    with image.open(tmp_path / "a.png") as result:
        assert result.size == (200, 200)


def test_without_the_extra_one_line_says_what_to_install(
    tmp_path: Path, predict: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(find_file("CT_small.dcm"), tmp_path / "a.dcm")
    monkeypatch.setitem(sys.modules, "pydicom", None)
    answer = predict(tmp_path / "a.dcm", tmp_path / "out.dcm")
    assert answer.code != 0
    assert "pip install 'sr[medical]'" in answer.err
    assert "Traceback" not in answer.err


@pytest.mark.skipif(not shutil.which("dcmdump"), reason="needs dcmdump (Debian: dcmtk)")
def test_dcmtk_reads_a_result(tmp_path: Path, predict: Any) -> None:
    shutil.copy(find_file("MR_small.dcm"), tmp_path / "a.dcm")
    assert predict(tmp_path / "a.dcm", tmp_path / "b.dcm").code == 0
    done = subprocess.run(["dcmdump", tmp_path / "b.dcm"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "DERIVED" in done.stdout


def test_30_damaged_files_are_read_or_named(tmp_path: Path) -> None:
    names = "MR_small.dcm", "MR_small_RLE.dcm", "SC_rgb_small_odd.dcm"
    sources = {name: find_file(name).read_bytes() for name in names}
    assert check_files(tmp_path, sources, mutate(sources, 30)) == []


def test_a_slice_of_a_real_series_keeps_its_place(tmp_path: Path, predict: Any, sr_data: Path) -> None:
    if not (sr_data / "medical" / "mr_series").is_dir():
        pytest.skip("SR_DATA has no medical/mr_series")
    source = min((sr_data / "medical" / "mr_series").glob("*.dcm"))
    shutil.copy(source, tmp_path / "a.dcm")
    answer = predict(tmp_path / "a.dcm", tmp_path / "b.dcm", "outscale=1.5")
    assert answer.code == 0, answer.err
    before, after = pydicom.dcmread(source), pydicom.dcmread(tmp_path / "b.dcm")
    assert after.Rows == round(1.5 * before.Rows)
    assert np.abs(find_corners(after) - find_corners(before)).max() < 1e-6


def list_errors(path: Path) -> set[str]:
    """Return the errors that dciodvfy finds in a file."""
    done = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
    return {line for line in done.stderr.splitlines() if line.startswith("Error")}


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="needs dciodvfy (Debian: dicom3tools)")
def test_a_result_has_no_errors_that_its_source_has_not(tmp_path: Path, predict: Any) -> None:
    shutil.copy(find_file("CT_small.dcm"), tmp_path / "a.dcm")
    assert predict(tmp_path / "a.dcm", tmp_path / "b.dcm").code == 0
    assert list_errors(tmp_path / "b.dcm") - list_errors(tmp_path / "a.dcm") == set()


@pytest.mark.slow(6)
@pytest.mark.parametrize("net", [Identity, Bicubic])
def test_a_whole_real_series_is_a_series_again(tmp_path: Path, sr_data: Path, net: Any) -> None:
    sources = sorted((sr_data / "medical" / "mr_series").glob("*.dcm"))
    if not sources:
        pytest.skip("SR_DATA has no medical/mr_series")
    config = {"scale": net.scale, "color": "rgb", "model": {"net": {"_target_": f"identity_net.{net.__name__}"}}}
    write_weights(tmp_path / "net.safetensors", {}, config)
    out = tmp_path / "out"
    run_predict(tmp_path / "net.safetensors", str(sources[0].parent), str(out), trust=["identity_net"], progress=False)
    results = sorted(path for path in out.iterdir() if path.suffix == ".dcm")
    assert len(results) == len(sources) == 32
    befores, afters = map(pydicom.dcmread, sources), [pydicom.dcmread(path) for path in results]
    for before, after in zip(befores, afters, strict=True):
        sides = np.array([[d.Rows, d.Columns] * np.array(d.PixelSpacing, float) for d in (before, after)])  # mm
        assert np.allclose(sides[0], sides[1], rtol=1e-6)
        assert np.abs(find_corners(after) - find_corners(before)).max() < 1e-6
        assert after.SourceImageSequence[0].ReferencedSOPInstanceUID == before.SOPInstanceUID
        assert after.SOPInstanceUID.is_valid
        assert after.InstanceNumber == before.InstanceNumber
        if net is Identity:
            assert after.pixel_array.dtype == before.pixel_array.dtype
            assert np.array_equal(after.pixel_array, before.pixel_array)
    assert len({after.SOPInstanceUID for after in afters} | {pydicom.dcmread(s).SOPInstanceUID for s in sources}) == 64
    assert len({after.SeriesInstanceUID for after in afters}) == 1
    if shutil.which("dcmdump"):
        done = subprocess.run(["dcmdump", "-q", *results], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
    if shutil.which("dciodvfy"):
        for source, result in zip(sources, results, strict=True):
            assert list_errors(result) - list_errors(source) == set(), result.name


def test_an_index_in_a_folder_is_left_out(tmp_path: Path, predict: Any) -> None:
    index = find_file("dicomdirtests") / "DICOMDIR"
    if not index.is_file():
        pytest.skip("this pydicom has no DICOMDIR")
    (tmp_path / "in").mkdir()
    shutil.copy(index, tmp_path / "in")
    shutil.copy(find_file("CT_small.dcm"), tmp_path / "in" / "slice")
    answer = predict(tmp_path / "in", tmp_path / "out")
    assert answer.code == 0, answer.err
    assert len([path for path in (tmp_path / "out").iterdir() if path.name != "predict.json"]) == 1
