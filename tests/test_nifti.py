"""NIfTI volumes in sr.predict, as nibabel sees the results: place in the world, numbers, header; what is refused; damage."""

import gzip
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from identity_net import BICUBIC, IDENTITY
from mutated_files import burst, cut, flip, repeat
from test_predict import run_predict, save_checkpoint

from sr.checkpoint.load import LoadedNet
from sr.image.file_format import ReadOptions, WriteOptions
from sr.image.formats import find_format
from sr.image.read import open_image_file
from sr.image.resize import imresize
from sr.net.bicubic import BicubicNet
from sr.prediction.opened_job import UpscaleJob, UpscaleResult
from sr.prediction.pipeline import iterate_upscaled
from sr.prediction.result_size import ResultSize
from sr.runtime.error import UserError

nibabel = pytest.importorskip("nibabel", reason="needs sr[medical]")
FILES = Path(nibabel.__file__).parent / "tests" / "data"
TYPES = ("uint8", "int8", "uint16", "int16", ">i2", "int32", "uint32", "float32", ">f4", "float64")
AFFINE = np.array([[-1.9, 0.3, 0.2, 12], [0.2, 1.1, -0.6, -7], [0.1, 0.5, 2.9, 31], [0, 0, 0, 1]])


def make_values(dtype: Any, shape: tuple[int, ...] = (7, 9, 5)) -> np.ndarray:
    """Return noise, of integers over most of the range of their type."""
    dtype = np.dtype(dtype)
    values = np.random.default_rng(0).random(shape)
    if dtype.kind == "f":
        return (values * 1000 - 300).astype(dtype)
    limits = np.iinfo(dtype if dtype.itemsize < 4 else np.dtype("int16"))
    return (limits.min // 2 + values * (limits.max - limits.min // 2)).astype(dtype)


def write(path: Path, values: np.ndarray, kind: Any = None, edit: Callable[[Any], None] | None = None) -> Path:
    """Write the stored numbers `values`, with a slope of 2 and an intercept of -5."""
    kind = kind or nibabel.Nifti1Image
    image = kind(values, AFFINE, kind.header_class(endianness="big" if values.dtype.byteorder == ">" else "little"))
    image.header.set_data_dtype(values.dtype)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"measured in Tromso"))
    image.header["descrip"] = b"a phantom"
    if edit:
        edit(image.header)
    image.header.set_slope_inter(2, -5) if values.dtype.kind != "f" and not values.dtype.names else None
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)
    return path


def upscale(
    source: Path, target: Path, model: LoadedNet = BICUBIC, axis: str | None = None, size: ResultSize | None = None
) -> UpscaleResult:
    with open_image_file(source, ReadOptions(axis=axis)) as file:
        wanted = (size or ResultSize()).fit_network(file.header, model.scale)
    options = WriteOptions(suffix=".nii.gz" if target.name.endswith(".gz") else ".nii")
    job = UpscaleJob(source, target, find_format("nifti"), options, size=wanted, read=ReadOptions(axis=axis))
    (result,) = iterate_upscaled(model, [job])
    return result


def read_stored(path: Path) -> np.ndarray:
    return np.asarray(nibabel.load(path).dataobj.get_unscaled())


def find_corners(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the places in the world of the outer corners of the first and the last voxel, and of all others."""
    corners = np.stack(np.meshgrid(*([-0.5, side - 0.5] for side in (*shape, 1)[:3]), indexing="ij"), axis=-1).reshape(
        -1, 3
    )
    return nibabel.affines.apply_affine(affine, corners)


def require_same_place(source: Path, result: Path) -> None:
    before, after = nibabel.load(source), nibabel.load(result)
    assert np.abs(find_corners(before.affine, before.shape) - find_corners(after.affine, after.shape)).max() < 1e-4
    for name in ("get_sform", "get_qform"):
        (old, code), (new, new_code) = (getattr(image.header, name)(coded=True) for image in (before, after))
        assert code == new_code
        if old is not None:
            assert np.abs(find_corners(old, before.shape) - find_corners(new, after.shape)).max() < 1e-4
    zooms = after.header.get_zooms()[:3]
    assert np.allclose(nibabel.affines.voxel_sizes(after.affine)[: len(zooms)], zooms, rtol=1e-4)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("axis", [None, "x"])
def test_a_network_that_returns_its_input_leaves_the_numbers_as_they_are(
    tmp_path: Path, dtype: str, axis: str | None
) -> None:
    values = make_values(dtype)
    if axis:  # a few bright voxels, beyond the range that a network sees
        values[3, 4, 2] = np.iinfo(values.dtype).max if values.dtype.itemsize < 4 else 2**20
    source = write(tmp_path / "a.nii", values)
    assert upscale(source, tmp_path / "b.nii", IDENTITY, axis).error is None
    stored = read_stored(tmp_path / "b.nii")
    assert stored.dtype == values.dtype
    if values.dtype.itemsize < 4:
        assert np.array_equal(stored, values)
        assert (tmp_path / "b.nii").read_bytes() == source.read_bytes()
    else:
        assert np.abs(stored - values.astype(float)).max() <= 1e-6 * float(np.ptp(values))


@pytest.mark.parametrize("kind", ["Nifti1Image", "Nifti2Image"])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_each_plane_is_upscaled_and_all_else_is_copied(tmp_path: Path, kind: str, name: str) -> None:
    values = make_values("int16", (7, 9, 3, 2))
    source = write(tmp_path / "in" / name, values, getattr(nibabel, kind))
    assert upscale(source, tmp_path / name).error is None
    assert ((tmp_path / name).read_bytes()[:2] == b"\x1f\x8b") == name.endswith(".gz")
    require_same_place(source, tmp_path / name)
    before, after = nibabel.load(source), nibabel.load(tmp_path / name)
    assert type(after).__name__ == kind
    assert (after.shape, after.get_data_dtype()) == ((14, 18, 3, 2), np.int16)
    assert (after.dataobj.slope, after.dataobj.inter) == (2, -5)
    assert bytes(after.header["descrip"]) == bytes(before.header["descrip"])
    assert [x.get_content() for x in after.header.extensions] == [x.get_content() for x in before.header.extensions]
    stored = read_stored(tmp_path / name)
    for plane in np.ndindex(3, 2):
        expected = imresize(torch.from_numpy(values[:, :, *plane].astype(np.float64))[None], 2)[0].numpy()
        assert np.abs(stored[:, :, *plane] - np.clip(expected, -32768, 32767)).max() <= 0.52


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_only_one_axis_is_upscaled_if_it_is_chosen(tmp_path: Path, axis: str) -> None:
    """Repeated planes stay what they are, so that the result is that of one line along the axis."""
    number = "xyz".index(axis)
    line = make_values("float32", (12,))
    shape = [6, 6, 6]
    shape[number] = 12
    values = np.broadcast_to(np.expand_dims(line, [k for k in range(3) if k != number]), shape)
    source = write(tmp_path / "a.nii", np.ascontiguousarray(values))
    assert upscale(source, tmp_path / "b.nii", axis=axis).error is None
    require_same_place(source, tmp_path / "b.nii")
    stored = np.moveaxis(read_stored(tmp_path / "b.nii"), number, 0)
    assert stored.shape == (24, 6, 6)
    expected = imresize(torch.from_numpy(np.broadcast_to(line[:, None], (12, 6)).astype(np.float64))[None], 2)[0, :, 0]
    assert np.abs(stored - expected.numpy()[:, None, None]).max() < 1e-3


@pytest.mark.parametrize(("zooms", "shape", "becomes"), [
    ((1, 1, 1), (4, 5, 6), (8, 10, 6)), ((1, 1, 3), (4, 5, 6), (8, 10, 6)), ((3, 1, 1), (4, 5, 6), (4, 10, 12)),
    ((1, 3, 1), (4, 5, 6), (8, 5, 12)), ((1.005, 1, 1), (4, 5, 6), (8, 10, 6)), ((1, 1, 9), (1, 5, 6), (1, 10, 12)),
    ((2, 2, 1), (4, 5), (8, 10)),
])  # fmt: skip
def test_planes_lie_across_the_longest_side_of_a_voxel(tmp_path: Path, zooms: Any, shape: Any, becomes: Any) -> None:
    source = tmp_path / "a.nii"
    image = nibabel.Nifti1Image(make_values("uint16", shape), np.diag([*zooms, 1]))
    nibabel.save(image, source)
    assert upscale(source, tmp_path / "b.nii.gz").error is None
    assert nibabel.load(tmp_path / "b.nii.gz").shape == becomes
    require_same_place(source, tmp_path / "b.nii.gz")


def test_a_size_that_is_no_multiple_covers_the_same_place(tmp_path: Path) -> None:
    source = write(tmp_path / "a.nii", make_values("uint16", (10, 12, 3)))
    for name, axis, size, shape in (
        ("b.nii", None, ResultSize(1.5), (15, 18, 3)), ("c.nii", "z", ResultSize(1.5), (10, 12, 4)),
        ("d.nii", None, ResultSize(None, 17), (17, 20, 3)),
    ):  # fmt: skip
        assert upscale(source, tmp_path / name, BICUBIC, axis, size).error is None
        assert nibabel.load(tmp_path / name).shape == shape
        require_same_place(source, tmp_path / name)
    with pytest.raises(UserError, match=r"size=20x: expected no size with axis="):
        upscale(source, tmp_path / "e.nii", BICUBIC, "z", ResultSize(None, 20))


@pytest.mark.parametrize("name", [
    "anatomical.nii", "example4d.nii.gz", "example_nifti2.nii.gz", "functional.nii", "reoriented_anat_moved.nii",
    "standard.nii.gz",
])  # fmt: skip
def test_nibabels_own_files(tmp_path: Path, name: str) -> None:
    source = FILES / name
    if not source.exists():
        pytest.skip("this nibabel has no test files")
    assert upscale(source, tmp_path / name).error is None
    require_same_place(source, tmp_path / name)
    before, after = nibabel.load(source), nibabel.load(tmp_path / name)
    assert after.get_data_dtype() == before.get_data_dtype()
    assert np.prod(after.shape) == 4 * np.prod(before.shape)
    assert (after.dataobj.slope, after.dataobj.inter) == (before.dataobj.slope, before.dataobj.inter)
    deviation = before.get_fdata().std()
    assert abs(after.get_fdata().mean() - before.get_fdata().mean()) < 0.03 * deviation


def test_a_real_brain_is_upscaled_through_plane(tmp_path: Path, sr_data: Path) -> None:
    source = sr_data / "medical" / "nifti" / "someones_anatomy.nii.gz"
    assert upscale(source, tmp_path / "b.nii.gz", axis="z").error is None
    require_same_place(source, tmp_path / "b.nii.gz")
    before, after = read_stored(source).astype(float), read_stored(tmp_path / "b.nii.gz").astype(float)
    assert after.shape == (57, 67, 112)
    assert np.abs((after[:, :, ::2] + after[:, :, 1::2]) / 2 - before).mean() < 4


def test_colors_are_read_and_a_gray_network_still_writes_them(tmp_path: Path) -> None:
    dtype = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    values = make_values("uint8", (6, 7, 4, 3)).view(dtype)[..., 0]
    source = write(tmp_path / "a.nii", values)
    assert upscale(source, tmp_path / "b.nii", IDENTITY).error is None
    assert (tmp_path / "b.nii").read_bytes() == source.read_bytes()
    gray = LoadedNet(BicubicNet(scale=2, channels=1).eval(), {"scale": 2, "color": "gray"}, {}, 0)
    assert upscale(source, tmp_path / "c.nii", gray).error is None
    stored = read_stored(tmp_path / "c.nii")
    assert (stored.shape, stored.dtype) == ((12, 14, 4), dtype)
    assert np.array_equal(stored["R"], stored["B"])


def test_slice_timing_is_reset_where_slices_change_and_named(tmp_path: Path) -> None:
    def edit(header: Any) -> None:
        header["dim_info"], header["slice_code"], header["slice_end"], header["slice_duration"] = 3 << 4, 1, 4, 0.1

    source = write(tmp_path / "a.nii", make_values("int16"), edit=edit)
    assert upscale(source, tmp_path / "b.nii").lost == []
    assert float(nibabel.load(tmp_path / "b.nii").header["slice_duration"]) == np.float32(0.1)
    assert upscale(source, tmp_path / "c.nii", axis="z").lost == ["slice timing"]
    assert int(nibabel.load(tmp_path / "c.nii").header["slice_code"]) == 0


def test_a_negative_slope_makes_the_smallest_number_white(tmp_path: Path) -> None:
    source = write(tmp_path / "a.nii", make_values("int16"))
    data = bytearray(source.read_bytes())
    struct.pack_into("<f", data, 112, -2.0)  # scl_slope
    source.write_bytes(data)
    with open_image_file(source) as file:
        assert file.header.black > file.header.white
    assert upscale(source, tmp_path / "b.nii", IDENTITY).error is None
    assert (tmp_path / "b.nii").read_bytes() == source.read_bytes()


def test_a_stated_range_is_in_units_and_cuts_nothing_off(tmp_path: Path) -> None:
    source = write(tmp_path / "a.nii", make_values("int16"))  # a slope of 2, an intercept of -5
    shift = 1 << 15  # signed numbers are unsigned ones in a frame
    with open_image_file(source, ReadOptions(range=(-105.0, 395.0))) as file:
        assert (file.header.black - shift, file.header.white - shift) == (-50, 200)
        assert file.notes[-1] == "black and white for the network are -105 and 395"
    read = ReadOptions(range=(-105.0, 395.0))
    (result,) = iterate_upscaled(IDENTITY, [UpscaleJob(source, tmp_path / "b.nii", find_format("nifti"), read=read)])
    assert result.error is None
    assert (tmp_path / "b.nii").read_bytes() == source.read_bytes()
    with pytest.raises(UserError, match=r"a\.nii: range=window: expected a file with cal_min and cal_max"):
        open_image_file(source, ReadOptions(range="window"))

    def set_window(header: Any) -> None:
        header["cal_min"], header["cal_max"] = -5, 95

    shown = write(tmp_path / "c.nii", make_values("int16"), edit=set_window)
    with open_image_file(shown, ReadOptions(range="window")) as file:
        assert (file.header.black - shift, file.header.white - shift) == (0, 50)


def write_nan(path: Path) -> None:
    values = make_values("float32")
    values[1, 2, 3] = np.nan
    write(path, values)


def write_pair(path: Path) -> None:
    nibabel.save(nibabel.Nifti1Pair(make_values("int16"), np.eye(4)), path)


def write_analyze(path: Path) -> None:
    nibabel.save(nibabel.AnalyzeImage(make_values("int16"), np.eye(4)), path)


def write_labels(path: Path) -> None:
    write(path, make_values("uint8"), edit=lambda header: header.set_intent("label"))


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "complex.nii": (lambda path: write(path, make_values("float32").astype("complex64")), "complex64 voxels are not read"),
    "vectors.nii": (lambda path: write(path, make_values("float32", (4, 5, 3, 1, 3))), "4×5×3×1×3 voxels: expected images"),
    "nan.nii.gz": (write_nan, "voxels that are NaN or infinite"), "labels.nii": (write_labels, "its voxels are labels"),
    "pair.hdr": (write_pair, "a NIfTI header whose voxels are in another file"),
    "old.hdr": (write_analyze, "this is an Analyze file; sr does not read Analyze yet: save it as .nii"),
    "text.nii.gz": (lambda path: path.write_bytes(gzip.compress(b"text")), "this image is damaged"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_read_is_refused_by_name(tmp_path: Path, name: str) -> None:
    make, message = REFUSED[name]
    make(tmp_path / name)
    with pytest.raises(UserError) as caught:
        open_image_file(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: {message}")


def test_damaged_volumes_are_read_or_named(tmp_path: Path) -> None:
    values, rng, kinds = make_values("int16", (8, 9, 4, 2)), random.Random(0), (cut, flip, burst, repeat)
    plain = write(tmp_path / "a.nii", values).read_bytes()
    sources = {"a.nii": plain, "b.nii.gz": gzip.compress(plain), "c.nii": write(tmp_path / "c.nii", values,
               nibabel.Nifti2Image).read_bytes()}  # fmt: skip
    for number in range(180):
        name = [*sources][number % 3]
        path = tmp_path / f"{number}{name}"
        path.write_bytes(kinds[number // 3 % 4](sources[name], rng))
        try:
            with open_image_file(path, ReadOptions(axis="y" if number % 2 else None)) as file:
                header = file.header
                planes = [file.read(frame).pixels for frame in range(min(header.frames, 99))]
                assert {(*plane.shape, plane.dtype) for plane in planes} == {(1, *header[:2], header.dtype)}
        except UserError as error:
            assert str(error).startswith(f"{path}: ")
            assert "\n" not in str(error)
        else:
            assert number // 3 % 4 or not name.endswith(".gz"), "a cut .gz was read"


@pytest.mark.parametrize("offset", [42, 46, 48])  # dim[1], dim[3], dim[4]
def test_a_header_that_announces_more_than_the_file_holds_is_an_error(tmp_path: Path, offset: int) -> None:
    data = bytearray(write(tmp_path / "a.nii", make_values("int16", (8, 9, 4, 2))).read_bytes())
    struct.pack_into("<h", data, offset, 32_000)
    for name, content in (("a.nii", bytes(data)), ("b.nii.gz", gzip.compress(data))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=r"this image is damaged \(its (voxels end|header announces)"):
            open_image_file(tmp_path / name)


def test_voxels_that_a_damaged_header_does_not_announce_are_named(tmp_path: Path) -> None:
    data = bytearray(write(tmp_path / "a.nii", make_values("int16", (8, 9, 4, 2))).read_bytes())
    struct.pack_into("<h", data, 48, 1)  # dim[4]: one time instead of two
    (tmp_path / "b.nii").write_bytes(bytes(data))
    for name, is_named in (("a.nii", False), ("b.nii", True)):
        with open_image_file(tmp_path / name) as file:
            assert ("576 bytes after its voxels are left out" in " ".join(file.notes)) == is_named


def test_the_command_names_results_as_their_sources_and_skips_what_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoint = save_checkpoint(tmp_path / "best.ckpt")
    write(Path("in/a.nii.gz"), make_values("int16"))
    write(Path("in/b.nii"), make_values("uint8"))
    for _ in range(2):
        run_predict(checkpoint, "in", "out", axis="z", preview=True)
    assert "2 images finished before" in capsys.readouterr().out
    names = sorted(path.name for path in Path("out").iterdir())
    assert names == ["a_x2.nii.gz", "b_x2.nii", "predict.json", "preview.png"]
    run_predict(checkpoint, "in/a.nii.gz", "plain.nii", axis="z")
    assert nibabel.load("plain.nii").shape == nibabel.load("out/a_x2.nii.gz").shape == (7, 9, 10)
    assert np.array_equal(read_stored(Path("plain.nii")), read_stored(Path("out/a_x2.nii.gz")))
    run_predict(checkpoint, "in/b.nii", "b.tif", format="tiff")
    with open_image_file(Path("b.tif")) as file:
        assert file.header.frames == 5
    with pytest.raises(UserError, match=r"axis is not an option of"):
        run_predict(checkpoint, "b.tif", "c.tif", axis="z")
