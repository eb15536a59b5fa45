"""`data=dicom` and `data=nifti`: which slices are trained and tested on, their values, and what is said of patients."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from volumes import SECRETS, make_voxels, write_series, write_volume

from sr.data.cache import Cache
from sr.data.dicom import Dicom
from sr.data.image_set import ImageSet
from sr.data.nifti import Nifti
from sr.data.slice_module import SliceModule
from sr.degrade.bicubic import Bicubic
from sr.runtime.error import UserError

SHORT = ("color=gray", "metric.depth=16", "data.patch=24", "data.batch=2", "trainer.max_steps=2", "model.net.width=4")


def make_data(kind: type[SliceModule], path: Any, val: Any = None, **options: Any) -> SliceModule:
    own = [kind.name] if val is None else val
    return kind(
        path=path, scale=2, color="gray", seed=0, root=Path("sets"), degrade=Bicubic(2), val=own, test=own, **options
    )


def list_positions(data: SliceModule, split: Any) -> list[float]:
    return sorted(one.position for one in data.find_images(split).hr)


def read_levels(image_set: ImageSet) -> np.ndarray:
    return np.stack([image_set[k].hr.numpy() for k in range(len(image_set))])


def test_one_series_is_divided_into_blocks_of_neighbors_with_a_gap(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_series(tmp_path, make_voxels((20, 32, 26)))
    data = make_data(Dicom, str(tmp_path))
    train, val, test = (list_positions(data, split) for split in ("train", "val", "test"))
    assert (train, val, test) == ([2.0 * k for k in range(12)], [28, 30], [32, 34, 36, 38])
    printed = capsys.readouterr().err
    assert "held out are 15 to 16 for the validation and 17 to 20 for the test" in printed
    assert "the numbers say nothing of other patients" in printed


def test_patients_are_never_divided_and_do_not_depend_on_the_names_of_files(tmp_path: Path) -> None:
    splits = []
    for order in ((0, 1, 2, 3), (3, 2, 1, 0)):
        folder = tmp_path / "".join(map(str, order))
        for place, patient in enumerate(order):
            voxels = make_voxels((4, 20, 20), patient)
            write_series(folder / f"d{place}", voxels, f"patient {patient}", f"1.2.{patient + 1}")
            write_series(folder / f"d{place}", voxels + 1, f"patient {patient}", f"1.3.{patient + 1}", 50)
        data = make_data(Dicom, [str(folder)])
        parts = {split: data.find_images(split).hr for split in ("train", "val", "test")}
        assert {split: len(slices) for split, slices in parts.items()} == {"train": 16, "val": 8, "test": 8}
        splits.append({
            split: {int(one.path.parent.name[1:]) for one in slices} for split, slices in parts.items()
        })  # fmt: skip
        splits[-1] = {split: {order[place] for place in places} for split, places in splits[-1].items()}
    assert splits[0] == splits[1]
    assert [len(splits[0][split]) for split in ("train", "val", "test")] == [2, 1, 1]


def test_several_series_of_one_patient_are_refused_and_the_way_out_works(tmp_path: Path) -> None:
    for number in (1, 2):
        write_series(tmp_path / "train" / str(number), make_voxels((12, 20, 20), number), uid=f"1.2.{number}")
    write_series(tmp_path / "other", make_voxels((3, 20, 20), 3), "another", "1.2.3")
    with pytest.raises(UserError, match=r"data\.path=.*expected several patients, or one volume \(found 2 volumes"):
        make_data(Dicom, str(tmp_path / "train")).find_images("train")
    data = make_data(Dicom, str(tmp_path / "train"), val=[str(tmp_path / "other")], patch=16)
    data.setup("fit")
    assert (len(data.train_set), len(data.eval_sets["val"][0])) == (24, 3)


def test_levels_are_the_stated_values_stretched_to_16_bits(tmp_path: Path) -> None:
    voxels = make_voxels((12, 24, 18))
    write_series(tmp_path / "dicom", voxels)
    write_volume(tmp_path / "nifti" / "a.nii.gz", voxels)
    for kind in (Dicom, Nifti):
        data = make_data(kind, str(tmp_path / kind.name), range=[-250.0, 400.0], patch=8)
        data.setup("fit")
        data.setup("test")
        levels = read_levels(data.eval_sets["test"][0])
        expected = np.clip((voxels[-2:].astype(np.float64) + 250) / 650, 0, 1) * 65535
        assert levels.dtype == np.uint16
        assert levels.shape == (2, 1, 24, 18)
        assert np.abs(levels[:, 0] - expected).max() <= 0.5 + 1e-6


def test_without_a_range_the_smallest_and_largest_value_of_the_series_are_black_and_white(tmp_path: Path) -> None:
    voxels = make_voxels((12, 24, 18))
    write_series(tmp_path, voxels)
    data = make_data(Dicom, str(tmp_path), patch=8)
    data.setup("test")
    low, high = int(voxels.min()), int(voxels.max())
    expected = (voxels[-2:].astype(np.float64) - low) / (high - low) * 65535
    assert np.abs(read_levels(data.eval_sets["test"][0])[:, 0] - expected).max() <= 0.5 + 1e-6


def test_the_cache_has_no_levels_of_another_range(tmp_path: Path) -> None:
    voxels = make_voxels((12, 24, 18))
    write_series(tmp_path / "mr", voxels)

    def read_first() -> np.ndarray:
        data = make_data(Dicom, str(tmp_path / "mr"), patch=8, memory=0, cache=str(tmp_path / "cache"))
        data.setup("fit")
        return data.train_set.images[0].hr.numpy().astype(float)

    before = read_first()
    voxels[11, 0, 0] = 3000  # of the last slice alone: the range of the series changes, not the file of the first one
    write_series(tmp_path / "mr", voxels)
    low, high = int(voxels.min()), int(make_voxels((12, 24, 18)).max())
    assert np.abs(read_first() - before * (high - low) / (3000 - low)).max() <= 1


def test_a_batch_for_a_network_on_gray_is_one_plane_and_exact(tmp_path: Path) -> None:
    write_series(tmp_path, make_voxels((12, 24, 18)))
    data = make_data(Dicom, str(tmp_path), patch=8, batch=4)
    data.setup("fit")
    raw = data.train_set[next(iter(data.train_dataloader().sampler))]
    pair = data.draw_example()
    assert raw.hr.shape == (4, 1, 8, 8)
    assert raw.hr.dtype == torch.uint16
    assert torch.equal(pair.hr, raw.hr.float() / 65535)


def test_a_volume_is_decoded_once_and_read_again_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sr.data import slice as slice_module

    source = write_volume(tmp_path / "a.nii.gz", make_voxels((12, 24, 18)))
    data = make_data(Nifti, str(source))
    slices = data.find_images("train").hr
    whole = read_levels(ImageSet(slices, 2, is_gray=True))
    opened = []
    read = slice_module.open_image_file
    monkeypatch.setattr(slice_module, "open_image_file", lambda *words: opened.append(words) or read(*words))
    for count in (1, 1):
        slice_module._read_volume.cache_clear()
        images = ImageSet(slices, 2, memory=0, cache=Cache(tmp_path / "cache", 1e9), is_gray=True)
        images.load()
        assert np.array_equal(read_levels(images), whole)
        assert len(opened) == count


def test_flat_slices_and_files_without_slices_are_left_out_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pydicom = pytest.importorskip("pydicom")
    voxels = make_voxels((13, 20, 20))
    voxels[0] = -200
    write_series(tmp_path, voxels)
    files = Path(pydicom.__file__).parent / "data" / "test_files"
    for name in ("SC_rgb_small_odd.dcm", "rtdose.dcm", "reportsi.dcm"):
        shutil.copy(files / name, tmp_path)
    (tmp_path / "notes.txt").write_text("not an image")
    data = make_data(Dicom, str(tmp_path))
    assert sum(len(data.find_images(split).hr) for split in ("train", "val", "test")) == 10  # 12, and a gap of 2
    printed = capsys.readouterr().err
    assert "left out: 3 file(s) without slices of gray" in printed
    assert "1 slice(s) whose pixels are all equal" in printed
    other = make_data(Dicom, None, val=[str(tmp_path)])
    with pytest.raises(UserError, match="expected gray"):
        other.setup("test")


def test_times_of_a_volume_stay_together_and_bids_names_are_patients(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    times = np.stack([make_voxels((12, 20, 18), seed).transpose(2, 1, 0) for seed in (0, 1)], axis=3)
    image = nibabel.Nifti1Image(times, np.diag([1, 1, 3, 1]))
    nibabel.save(image, tmp_path / "bold.nii.gz")
    data = make_data(Nifti, str(tmp_path / "bold.nii.gz"))
    assert list_positions(data, "test") == [10, 10, 11, 11]
    assert {one.name for one in data.find_images("test").hr} == {
        "bold_t0_z010", "bold_t0_z011", "bold_t1_z010", "bold_t1_z011"
    }  # fmt: skip
    for name in ("sub-01/T1", "sub-01/T2", "sub-02/T1"):
        write_volume(tmp_path / "bids" / f"{name}.nii", make_voxels((3, 20, 18)))
    parts = make_data(Nifti, str(tmp_path / "bids"))
    patients = {split: {one.path.parent.name for one in parts.find_images(split).hr} for split in ("train", "test")}
    assert patients["train"].isdisjoint(patients["test"])


@pytest.mark.slow(20)
@pytest.mark.usefixtures("sender_thread")
@pytest.mark.parametrize("kind", ["dicom", "nifti"])
def test_training_evaluating_and_predicting_say_nothing_of_patients(kind: str, tmp_path: Path, sr: Any) -> None:
    voxels = make_voxels((12, 40, 36))
    source = tmp_path / "in"
    if kind == "dicom":
        write_series(source, voxels)
    else:
        write_volume(source / "a.nii", voxels)
    words = (f"data={kind}", f"data.path={source}")
    track = "track=mlflow" if kind == "dicom" else "track=journal"
    answers = [sr("run", *words, *SHORT, track)]
    assert answers[0].code == 0, answers[0].err
    (run,) = (path.parent for path in (tmp_path / "runs").glob("*/best.ckpt"))
    checkpoint = f"checkpoint={run}/best.ckpt"
    answers.append(sr("evaluate", checkpoint, *words, "metric.depth=16", track))
    answers.append(sr("predict", checkpoint, f"input={source}", f"output={tmp_path}/out"))
    answers.append(sr("compare", f"runs=[{run}]", "track=none"))
    assert "images of patients are shown only of runs with data.panels=true" in answers[-1].out + answers[-1].err
    broken = next(path for path in source.iterdir() if path.is_file())
    broken.write_bytes(broken.read_bytes()[:-1500])
    answers.append(sr("predict", checkpoint, f"input={source}", f"output={tmp_path}/out2"))
    answers.append(sr("run", *words, *SHORT, "track=none"))
    assert [answer.code for answer in answers] == [0, 0, 0, 0, 2, 2]
    assert broken.name in answers[-1].err
    own = [path for path in tmp_path.rglob("*") if path.is_file() and source not in path.parents]
    logs = [path for path in own if not ({"out", "out2"} & set(path.parts)) or path.name == "predict.json"]
    names = {path.name for path in logs}
    assert {"summary.json", "data.json", "predict.json", "best.ckpt"} <= names
    assert ("mlflow.db" in names) == (kind == "dicom")
    for secret in SECRETS:
        assert all(secret not in answer.out + answer.err for answer in answers)
        assert [path for path in logs if secret.encode() in path.read_bytes()] == []
    assert [path for path in logs if path.suffix in (".png", ".webp", ".jpg")] == []
    results = json.loads(next(path for path in logs if path.name == "evaluate.json").read_text())["sets"][kind]
    (volume,) = results["per_volume"].values()
    assert volume["count"] == results["count"] == 2
    errors = [10 ** (-values["psnr"] / 10) for values in results["per_image"].values()]
    assert volume["psnr"] == pytest.approx(-10 * np.log10(np.mean(errors)), abs=1e-9)
    assert volume["ssim"] == pytest.approx(results["metrics"]["ssim"], abs=1e-9)
    assert results["protocol"]["range"].startswith("smallest" if kind == "dicom" else "0.1 to 99.9")


@pytest.mark.slow(5)
def test_what_cannot_be_done_with_slices_is_an_error_of_one_line(tmp_path: Path, sr: Any) -> None:
    write_series(tmp_path / "mr", make_voxels((12, 40, 36)))
    (tmp_path / "empty").mkdir()
    for words, message in (
        (
            ("inspect", "data=dicom", f"data.path={tmp_path}/mr"),
            "data=dicom: expected a source of image files (found slices)",
        ),
        (("run", "data=dicom", *SHORT), "data=dicom needs the folder of your volumes: data.path=DIR"),
        (
            ("run", "data=nifti", f"data.path={tmp_path}/empty", *SHORT),
            "expected NIfTI files in this folder or below it",
        ),
        (
            ("run", "data=dicom", f"data.path={tmp_path}/mr", *SHORT[1:], "metric.depth=8"),
            "metric.depth=16 evaluates them",
        ),
        (
            ("run", "data=dicom", f"data.path={tmp_path}/mr", "data.range=[5,1]", *SHORT),
            "data.range=[5,1]: expected two numbers",
        ),
    ):
        answer = sr(*words, *(["track=none"] if words[0] == "run" else []))
        assert (answer.code, message in answer.err, "Traceback" in answer.err) == (2, True, False), answer.err
