"""GeoTIFFs in sr.predict, as rasterio sees the results: place, masks, numbers, bands, layout; what is refused; damage."""

import json
import random
import shutil
import struct
import subprocess
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mutated_files import burst, cut, flip, repeat
from test_nifti import BICUBIC, IDENTITY
from test_predict import run_predict, save_checkpoint
from torch import Tensor, nn

from sr.checkpoint.load import LoadedNet
from sr.image.file_format import READ_ALL, ReadOptions
from sr.image.formats import find_format
from sr.image.read import open_image_file
from sr.net.bicubic import BicubicNet
from sr.prediction.opened_job import UpscaleJob, UpscaleResult
from sr.prediction.pipeline import iterate_upscaled
from sr.runtime.error import UserError

rasterio = pytest.importorskip("rasterio", reason="needs sr[satellite]")
TYPES = ("uint8", "int8", "uint16", "int16", "float32", "int32", "float64")
PLACE = rasterio.Affine(30.0, 4.0, 288_776.25, 3.0, -30.0, 9_120_760.75)  # rotated
NORTH = rasterio.Affine(10.0, 0.0, 300_000.0, 0.0, -10.0, 5_800_000.0)


class Convolution(nn.Module):
    """Upscales by 2 by a convolution of random weights."""

    scale, channels, receptive_field = 2, 3, 7

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.rand(12, 3, 7, 7, generator=generator) / 147)

    def forward(self, lr: Tensor) -> Tensor:
        padded = F.pad(lr, (3, 3, 3, 3), mode="replicate")
        return F.pixel_shuffle(F.conv2d(padded, self.weight), 2)


CONVOLUTION = LoadedNet(Convolution().eval(), {"scale": 2, "color": "rgb"}, {}, 0)


class Channels(nn.Module):
    """Repeats each pixel, with its channels in another order; of gray these are equal."""

    scale, channels, receptive_field = 2, 3, 1

    def forward(self, lr: Tensor) -> Tensor:
        return lr[:, [2, 0, 1]].repeat_interleave(2, 2).repeat_interleave(2, 3)


class Black(Channels):
    """Returns zeros."""

    def forward(self, lr: Tensor) -> Tensor:
        return super().forward(lr) * 0


CHANNELS, BLACK = (LoadedNet(net().eval(), {"scale": 2, "color": "rgb"}, {}, 0) for net in (Channels, Black))


def make_values(dtype: Any, shape: tuple[int, ...] = (1, 40, 50)) -> np.ndarray:
    """Return noise, of integers over most of the range of their type."""
    dtype, values = np.dtype(dtype), np.random.default_rng(0).random(shape)
    if dtype.kind == "f":
        return (values * 1000 - 300).astype(dtype)
    limits = np.iinfo(dtype if dtype.itemsize < 4 else np.dtype("int16"))
    return (limits.min // 2 + 5 + values * (limits.max - limits.min // 2 - 5)).astype(dtype)


def make_hole(shape: tuple[int, ...], seed: int = 1) -> np.ndarray:
    """Return a mask with a large hole, single missing samples and a border of others: False is no data."""
    valid = np.random.default_rng(seed).random(shape) > 0.1
    valid[..., 10:30, 15:40] = False
    valid[..., :6, :] = True
    return valid


def write(path: Path, values: np.ndarray, mask: np.ndarray | None = None, **options: Any) -> Path:
    """Write `[C, H, W]` by rasterio, with an internal mask `[H, W]` if there is one."""
    known = {"crs": "EPSG:32725", "transform": PLACE, "count": len(values), "dtype": values.dtype.name}
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            path, "w", driver="GTiff", height=values.shape[1], width=values.shape[2], **{**known, **options}
        ) as dataset,
    ):
        dataset.write(values)
        if mask is not None:
            dataset.write_mask(mask)
    return path


def upscale(
    source: Path, target: Path, model: LoadedNet = BICUBIC, read: ReadOptions = READ_ALL, name: str = "geotiff",
    size: tuple[int, int] | None = None, **options: Any,
) -> UpscaleResult:  # fmt: skip
    job = UpscaleJob(source, target, find_format(name), read=read, size=size)
    (result,) = iterate_upscaled(model, [job], **options)
    return result


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return samples and masks `[C, H, W]`; alpha is a mask of floats as well."""
    with rasterio.open(path) as dataset:
        samples, masks = dataset.read(), dataset.read_masks() > 0
        if dataset.colorinterp[-1] == rasterio.enums.ColorInterp.alpha:
            masks &= samples[-1:] > 0
        return samples, masks


def require_same_place(source: Path, result: Path) -> None:
    """Check that the corners of both images are the same points of the ground."""
    with rasterio.open(source) as before, rasterio.open(result) as after:
        assert before.crs == after.crs
        for x, y in ((0, 0), (1, 0), (0, 1), (1, 1)):
            old = before.transform @ (x * before.width, y * before.height)
            new = after.transform @ (x * after.width, y * after.height)
            assert np.abs(np.subtract(old, new)).max() < 1e-6


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("kind", ["plain", "nodata", "internal", "alpha"])
def test_a_network_that_returns_its_input_leaves_the_samples_as_they_are(tmp_path: Path, dtype: str, kind: str) -> None:
    values, valid, options = make_values(dtype, (3, 40, 50)), make_hole((40, 50)), {}
    if kind == "nodata":
        options["nodata"] = 1
        values = np.where(valid, np.where(values == 1, 2, values), 1).astype(dtype)
    if kind == "alpha":
        values = np.concatenate([values, valid[None].astype(dtype) * 100])
        options = {"photometric": "RGB", "alpha": "YES"}
    source = write(tmp_path / "a.tif", values, valid if kind == "internal" else None, **options)
    assert upscale(source, tmp_path / "b.tif", IDENTITY).error is None
    (before, known), (after, also_known) = read(source), read(tmp_path / "b.tif")
    assert np.array_equal(known, also_known)
    assert after.dtype == before.dtype
    assert known.all() == (kind == "plain")
    if dtype == "float64":
        assert np.abs(after - before)[known].max() < 1e-4
    else:
        assert np.array_equal(after[known], before[known])
    require_same_place(source, tmp_path / "b.tif")


@pytest.mark.parametrize("kind", ["nodata", "nodata NaN", "internal", "alpha", "file", "NaN"])
@pytest.mark.parametrize("size", [None, (60, 75)])
def test_masks_are_those_of_the_source_and_do_not_leak(tmp_path: Path, kind: str, size: tuple[int, int] | None) -> None:
    """The values without data are far from the others: a valid pixel near them would show it."""
    valid, options = make_hole((40, 50)), {}
    values = (np.random.default_rng(0).random((1, 40, 50)) * 10 + 1000).astype(np.float32)
    values[0, ~valid] = np.nan if "NaN" in kind else 1e30
    if "nodata" in kind:
        options["nodata"] = np.nan if "NaN" in kind else 1e30
    if kind == "alpha":
        values = np.concatenate([values, valid[None].astype(np.float32) * 255])
        options = {"photometric": "MINISBLACK", "alpha": "YES"}
    source = write(tmp_path / "a.tif", values, valid if kind in ("internal", "file") else None, **options)
    if kind == "file":
        source.unlink()
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False):
            write(source, values)
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(source, "r+") as dataset:
            dataset.write_mask(valid)
        assert (tmp_path / "a.tif.msk").exists()
    assert upscale(source, tmp_path / "b.tif", size=size).error is None
    require_same_place(source, tmp_path / "b.tif")
    samples, known = read(tmp_path / "b.tif")
    known = np.isfinite(samples[0]) if kind == "NaN" else known[0]
    height, width = size or (80, 100)
    rows, columns = ((np.arange(n) + 0.5) * m / n for n, m in ((height, 40), (width, 50)))
    assert np.array_equal(known, valid[np.ix_(rows.astype(int), columns.astype(int))])
    assert samples[0][known].min() > 998
    assert samples[0][known].max() < 1012


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_missing_samples_change_others_only_within_the_receptive_field(tmp_path: Path, dtype: str) -> None:
    values = make_values(dtype, (3, 60, 70))
    values[values == 255] = 254
    valid = np.ones((60, 70), bool)
    valid[20:30, 25:50] = False
    limits = ReadOptions(range=(0, 255))
    whole = write(tmp_path / "a.tif", values)
    cut = write(tmp_path / "b.tif", np.where(valid, values, 255).astype(dtype), nodata=255)
    for source, target in ((whole, "c.tif"), (cut, "d.tif")):
        assert upscale(source, tmp_path / target, CONVOLUTION, limits).error is None
    (before, _), (after, known) = read(tmp_path / "c.tif"), read(tmp_path / "d.tif")
    far = np.ones((120, 140), bool)
    far[2 * (20 - 3) : 2 * (30 + 3), 2 * (25 - 3) : 2 * (50 + 3)] = False
    assert np.array_equal(before[:, far], after[:, far])
    assert not np.array_equal(before[:, ~far], after[:, ~far])
    assert np.array_equal(known[0], valid.repeat(2, 0).repeat(2, 1))


def test_small_files_in_a_batch_have_the_results_of_each_alone(tmp_path: Path) -> None:
    valid = [make_hole((40, 50), seed) for seed in range(3)]
    sources = [
        write(
            tmp_path / f"{k}.tif",
            np.where(mask, make_values("uint8", (3, 40, 50)) // 2 + k, 0).astype(np.uint8),
            nodata=0,
        )
        for k, mask in enumerate(valid)
    ]
    together = [UpscaleJob(source, tmp_path / f"b{k}.tif", find_format("geotiff")) for k, source in enumerate(sources)]
    assert not [result.error for result in iterate_upscaled(CONVOLUTION, together) if result.error]
    for k, source in enumerate(sources):
        assert upscale(source, tmp_path / f"a{k}.tif", CONVOLUTION).error is None
        (alone, known), (batched, also_known) = read(tmp_path / f"a{k}.tif"), read(tmp_path / f"b{k}.tif")
        assert np.array_equal(known, also_known)
        assert np.array_equal(known, read(source)[1].repeat(2, 1).repeat(2, 2))
        assert np.abs(alone.astype(int) - batched).max() <= 1


@pytest.mark.parametrize("tile", [16, 40])
def test_tiles_equal_the_whole_image_also_where_samples_are_missing(tmp_path: Path, tile: int) -> None:
    values = np.where(make_hole((90, 100)), make_values("uint16", (2, 90, 100)), 0).astype(np.uint16)
    source = write(tmp_path / "a.tif", values, nodata=0)
    assert upscale(source, tmp_path / "b.tif", CONVOLUTION).error is None
    assert upscale(source, tmp_path / "c.tif", CONVOLUTION, tile=tile).error is None
    (whole, known), (tiled, also_known) = read(tmp_path / "b.tif"), read(tmp_path / "c.tif")
    assert np.array_equal(known, also_known)
    assert np.abs(whole.astype(int) - tiled).max() <= 1


@pytest.mark.parametrize(("dtype", "nodata"), [("uint8", 0), ("uint8", 255), ("int16", -32768), ("float32", 0.0),
                                               ("float32", -9999.0), ("uint16", 777)])  # fmt: skip
def test_a_result_that_is_data_never_equals_the_nodata_value(tmp_path: Path, dtype: str, nodata: float) -> None:
    """The network returns the nodata value for all samples."""
    values = make_values(dtype, (1, 20, 24))
    values[values == np.array(nodata).astype(dtype)] += np.array(2).astype(dtype) if nodata != 255 else 254
    values[0, 5:9, 3:20] = nodata
    source = write(tmp_path / "a.tif", values, nodata=nodata)
    assert upscale(source, tmp_path / "b.tif", BLACK, ReadOptions(range=(nodata, nodata + 1))).error is None
    samples, known = read(tmp_path / "b.tif")
    assert np.array_equal(known, read(source)[1].repeat(2, 1).repeat(2, 2))
    assert np.isfinite(samples[known]).all()
    assert np.abs(samples[known].astype(float) - nodata).max() <= max(1, 1e-6 * abs(nodata))


@pytest.mark.parametrize("bands", [None, (4, 3, 2), (5,), (2, 1)])
def test_three_bands_are_a_color_image_and_others_are_upscaled_one_by_one(
    tmp_path: Path, bands: tuple[int, ...] | None
) -> None:
    values = make_values("uint16", (5, 20, 24))
    source = write(tmp_path / "a.tif", values)
    with rasterio.open(source, "r+") as dataset:
        dataset.descriptions = [f"B0{k}" for k in range(1, 6)]
    assert upscale(source, tmp_path / "b.tif", CHANNELS, ReadOptions(bands=bands, range=(0, 65535))).error is None
    chosen = bands or (1, 2, 3, 4, 5)
    with rasterio.open(tmp_path / "b.tif") as dataset:
        assert dataset.descriptions == tuple(f"B0{k}" for k in chosen)
        samples = dataset.read()
    expected = values[[k - 1 for k in chosen]].repeat(2, 1).repeat(2, 2)
    if len(chosen) == 3:  # the network returns its channels in another order
        expected = expected[[2, 0, 1]]
    assert np.array_equal(samples, expected)


@pytest.mark.parametrize("color", ["gray", "y"])
def test_networks_of_one_channel_upscale_each_band(tmp_path: Path, color: str) -> None:
    model = LoadedNet(BicubicNet(scale=2, channels=1).eval(), {"scale": 2, "color": color}, {}, 0)
    values = np.broadcast_to(np.array([10, 100, 200], np.uint8)[:, None, None], (3, 20, 24))
    source = write(tmp_path / "a.tif", values)
    assert upscale(source, tmp_path / "b.tif", model).error is None
    difference = read(tmp_path / "b.tif")[0] - values.repeat(2, 1).repeat(2, 2).astype(int)
    assert np.abs(difference).max() <= (color == "y")  # of three bands, chroma is upscaled bicubically


def test_a_network_of_all_bands_gets_them_at_once(tmp_path: Path) -> None:
    model = LoadedNet(BICUBIC.net, {"scale": 2, "color": "bands", "channels": 4}, {}, 0)
    values = make_values("uint16", (4, 20, 24))
    source = write(tmp_path / "a.tif", values)
    for name, one in (("b.tif", model), ("c.tif", BICUBIC)):
        assert upscale(source, tmp_path / name, one).error is None
    (together, _), (alone, _) = read(tmp_path / "b.tif"), read(tmp_path / "c.tif")
    assert np.abs(together.astype(int) - alone).max() <= 1
    error = upscale(source, tmp_path / "d.tif", model, ReadOptions(bands=(1, 2))).error
    assert str(error).startswith(f"{source}: expected 4 bands, which this network upscales together (found 2)")


def test_bands_in_another_order_than_rgb_reach_the_network_as_rgb(tmp_path: Path) -> None:
    values = make_values("uint8", (3, 20, 24))
    source = write(tmp_path / "a.tif", values)
    with rasterio.open(source, "r+") as dataset:
        dataset.colorinterp = [getattr(rasterio.enums.ColorInterp, name) for name in ("blue", "green", "red")]
    with open_image_file(source) as file:
        assert np.array_equal(file.read().pixels.numpy(), values[::-1])
    assert upscale(source, tmp_path / "b.tif", IDENTITY).error is None
    with rasterio.open(tmp_path / "b.tif") as dataset:
        assert np.array_equal(dataset.read(), values)
        assert [color.name for color in dataset.colorinterp] == ["blue", "green", "red"]


def test_tags_layout_and_overviews_are_those_of_the_source(tmp_path: Path) -> None:
    source = write(
        tmp_path / "a.tif", make_values("int16", (2, 300, 310)), nodata=-1, compress="lzw", predictor=2, tiled=True,
        blockxsize=128, blockysize=128, interleave="band",
    )  # fmt: skip
    with rasterio.open(source, "r+") as dataset:
        dataset.update_tags(MISSION="a probe", AREA_OR_POINT="Point")
        dataset.update_tags(ns="MINE", key="a value")
        dataset.update_tags(2, WAVELENGTH="842 nm", STATISTICS_MEAN="7")
        dataset.scales, dataset.offsets = (0.0001, 0.5), (0.0, -3.0)
        dataset.set_band_unit(1, "K")
        dataset.build_overviews([2, 4])
    assert upscale(source, tmp_path / "b.tif").error is None
    require_same_place(source, tmp_path / "b.tif")
    with rasterio.open(tmp_path / "b.tif") as dataset:
        assert dataset.tags() == {"MISSION": "a probe", "AREA_OR_POINT": "Point"}
        assert dataset.tags(ns="MINE") == {"key": "a value"}
        assert dataset.tags(2) == {"WAVELENGTH": "842 nm"}
        assert (dataset.scales, dataset.offsets, dataset.units) == ((0.0001, 0.5), (0.0, -3.0), ("K", None))
        assert (dataset.nodata, dataset.overviews(2)) == (-1, [2, 4])
        profile = {key: dataset.profile[key] for key in ("compress", "tiled", "blockxsize", "interleave", "dtype")}
        assert list(profile.values()) == ["lzw", True, 128, "band", "int16"]


def test_an_alpha_band_that_is_chosen_is_a_band(tmp_path: Path) -> None:
    source = write(tmp_path / "a.tif", make_values("uint8", (4, 20, 24)))  # GDAL takes the fourth for alpha
    assert upscale(source, tmp_path / "b.tif", IDENTITY, ReadOptions(bands=(4, 3, 2))).error is None
    with rasterio.open(tmp_path / "b.tif") as dataset:
        assert np.array_equal(dataset.read(), read(source)[0][[3, 2, 1]])
        assert dataset.read_masks().all()


def test_a_cog_becomes_a_cog(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", make_values("uint8", (3, 300, 310)), make_hole((300, 310)))
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        options = {"driver": "COG", "COMPRESS": "LZW", "BLOCKSIZE": 256}
        import_module("rasterio.shutil").copy(tmp_path / "a.tif", tmp_path / "cog.tif", **options)
    assert upscale(tmp_path / "cog.tif", tmp_path / "b.tif").error is None
    require_same_place(tmp_path / "cog.tif", tmp_path / "b.tif")
    with rasterio.open(tmp_path / "b.tif") as dataset:
        structure = dataset.tags(ns="IMAGE_STRUCTURE")
        assert (structure["LAYOUT"], structure["COMPRESSION"], dataset.block_shapes[0]) == ("COG", "LZW", (256, 256))
        assert dataset.overviews(1) == [2, 4]
        assert np.array_equal(dataset.read_masks(1) > 0, make_hole((300, 310)).repeat(2, 0).repeat(2, 1))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tif", "b.tif", "cog.tif"]


def test_control_points_and_rational_polynomials_are_those_of_the_larger_image(tmp_path: Path) -> None:
    points = [
        rasterio.control.GroundControlPoint(row, column, 100 + column, 50 - row, 3.0, str(row))
        for row, column in ((0, 0), (0, 50), (40, 0), (40, 50))
    ]
    coefficients = [1.0, *[0.0] * 19]
    line, sample = ([0.0, float(k == 2), float(k == 1), *[0.0] * 17] for k in (2, 1))
    rpcs = rasterio.rpc.RPC(
        height_off=0.0, height_scale=1.0, lat_off=10.0, lat_scale=1.0, line_den_coeff=coefficients, line_num_coeff=line,
        line_off=19.5, line_scale=20.0, long_off=20.0, long_scale=1.0, samp_den_coeff=coefficients,
        samp_num_coeff=sample, samp_off=24.5, samp_scale=25.0, err_bias=None, err_rand=None,
    )  # fmt: skip
    source = write(tmp_path / "a.tif", make_values("uint8"), transform=None, gcps=points, rpcs=rpcs)
    assert upscale(source, tmp_path / "b.tif").error is None
    with rasterio.open(tmp_path / "b.tif") as dataset:
        found, crs = dataset.gcps
        assert crs == rasterio.CRS.from_epsg(32725)
        assert [(p.row, p.col, p.x, p.y, p.z) for p in found] == [
            (2 * p.row, 2 * p.col, p.x, p.y, p.z) for p in points
        ]  # fmt: skip
        # The center of the image, and its corners, have the same coordinates.
        assert (dataset.rpcs.line_off, dataset.rpcs.samp_off) == (39.5, 49.5)
        assert (dataset.rpcs.line_scale, dataset.rpcs.samp_scale) == (40.0, 50.0)
        assert dataset.rpcs.lat_off == 10.0


def test_the_range_is_that_of_the_data(tmp_path: Path) -> None:
    values = np.arange(20_000, dtype=np.uint16).reshape(1, 100, 200)
    values[0, :50] = 65_000
    source = write(tmp_path / "a.tif", values, nodata=65_000)
    with open_image_file(source) as file:
        assert (file.header.black, file.header.white) == (10_010, 19_990)
        assert file.notes == (
            "black and white for the network are 10010 and 19990, the 0.1% and 99.9% percentiles; values beyond them stay",
        )
    with open_image_file(source, ReadOptions(range=(0, 3000))) as file:
        assert (file.header.black, file.header.white, file.header.is_limited) == (0, 3000, False)


def test_other_formats_show_missing_samples_black_and_name_what_they_lose(tmp_path: Path) -> None:
    valid = make_hole((40, 50))
    source = write(tmp_path / "a.tif", make_values("uint8", (3, 40, 50)), valid)
    result = upscale(source, tmp_path / "b.png", name="png")
    assert result.lost == ["place on Earth (CRS, transform)", "mask and nodata value", "tags of bands"]
    with open_image_file(tmp_path / "b.png") as file:
        pixels = file.read().pixels.numpy()
    assert not pixels[:, ~valid.repeat(2, 0).repeat(2, 1)].any()
    values = np.concatenate([make_values("uint16", (3, 40, 50)), valid[None] * np.uint16(9)])
    source = write(tmp_path / "c.tif", values, photometric="RGB", alpha="YES")
    assert upscale(source, tmp_path / "d.png", name="png").error is None
    with open_image_file(tmp_path / "d.png") as file:
        assert np.array_equal(file.read().alpha.numpy()[0], valid.repeat(2, 0).repeat(2, 1) * np.uint16(65535))


def write_palette(path: Path) -> None:
    write(path, make_values("uint8"))
    with rasterio.open(path, "r+") as dataset:
        dataset.write_colormap(1, {k: (k, 0, 255 - k) for k in range(256)})


def write_orphan(path: Path) -> None:
    """Write a TIFF whose mask is behind a damaged directory."""
    write(path, make_values("uint8"), make_hole((40, 50)))
    data = bytearray(path.read_bytes())
    (first,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, first)
    struct.pack_into("<I", data, first + 2 + 12 * count, len(data) + 1000)
    path.write_bytes(data)


REFUSED: dict[str, tuple[Callable[[Path], object], ReadOptions, str]] = {
    "palette.tif": (write_palette, READ_ALL, "a GeoTIFF whose samples are numbers in a table of colors, or of classes"),
    "complex.tif": (lambda path: write(path, make_values("float32").astype("complex64")), READ_ALL, "a GeoTIFF of complex64"),
    "bands.tif": (lambda path: write(path, make_values("uint8", (4, 9, 9))), ReadOptions(bands=(4, 5)),
                  "bands=[4,5]: expected different numbers of its bands, 1 to 4"),
    "window.tif": (lambda path: write(path, make_values("uint8")), ReadOptions(range="window"),
                   "range=window: expected two values"),
    "orphan.tif": (write_orphan, READ_ALL, "this image is damaged"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_read_is_refused_by_name(tmp_path: Path, name: str) -> None:
    make, options, message = REFUSED[name]
    make(tmp_path / name)
    with pytest.raises(UserError) as caught:
        open_image_file(tmp_path / name, options)
    assert str(caught.value).startswith(f"{tmp_path / name}: {message}")


@pytest.mark.parametrize("kind", ["nodata value 0", "an internal mask", "a mask (a.tif.msk)"])
def test_without_rasterio_a_mask_is_refused_and_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path, values = tmp_path / "a.tif", make_values("uint8")
    write(path, values, make_hole((40, 50)) if "internal" in kind else None, nodata=0 if "nodata" in kind else None)
    if "msk" in kind:
        (tmp_path / "a.tif.msk").write_bytes(path.read_bytes())
    monkeypatch.setattr("sr.image.format.tiff.is_rasterio_installed", lambda: False)
    with pytest.raises(UserError) as caught:
        open_image_file(path)
    expected = f"{path}: a GeoTIFF with {kind}, which would leak into the data next to it, needs rasterio: pip install"
    assert str(caught.value).startswith(expected)


def test_without_rasterio_a_place_alone_is_named_as_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.tif", make_values("uint8"))
    monkeypatch.setattr("sr.image.format.tiff.is_rasterio_installed", lambda: False)
    with open_image_file(path) as file:
        assert (file.header.format, file.metadata.unread) == ("TIFF", ("GeoTIFF tags",))


def make_sources(folder: Path) -> dict[str, bytes]:
    """Return small sound files by name: kinds of masks, layouts and compressions."""
    hole, gray = make_hole((40, 50)), make_values("uint16")
    files = {
        "nodata.tif": write(folder / "1.tif", np.where(hole, gray, 7), nodata=7, compress="deflate", predictor=2),
        "mask.tif": write(folder / "2.tif", make_values("uint8", (3, 40, 50)), hole, compress="lzw", tiled=True, blockxsize=16,
                          blockysize=16),
        "float.tif": write(folder / "3.tif", make_values("float32", (2, 40, 50)), nodata=-9999, interleave="band"),
        "plain.tif": write(folder / "4.tif", make_values("uint8", (4, 40, 50)), compress="zstd", BIGTIFF="YES"),
    }  # fmt: skip
    plain = write(folder.parent / "plain.tif", gray // 2, transform=NORTH)
    files["place.jp2"] = folder / "5.jp2"
    import_module("rasterio.shutil").copy(
        plain, files["place.jp2"], driver="JP2OpenJPEG", QUALITY=100, REVERSIBLE="YES"
    )
    return {name: path.read_bytes() for name, path in files.items()}


@pytest.mark.slow(6)
def test_damaged_files_are_read_or_named(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    """Frames have the size and the type that the header states; data are finite. GDAL prints nothing."""
    rng, kinds, sources = random.Random(0), (cut, flip, burst, repeat), make_sources(tmp_path / "sound")
    sound = {path.name: path for path in (tmp_path / "sound").iterdir()}
    frames = {}
    for name, path in zip(sources, sorted(sound.values()), strict=True):
        with open_image_file(path) as file:
            frames[name] = file.read()
    count = dict.fromkeys(("read", "named"), 0)
    for number in range(200):
        name = [*sources][number % 5]
        path = tmp_path / f"{number}{name}"
        path.write_bytes(kinds[number // 5 % 4](sources[name], rng))
        try:
            with open_image_file(path) as file:
                header = file.header
                if header.height * header.width > 1 << 20:
                    continue
                frame = file.read()
                assert (*frame.pixels.shape, frame.pixels.dtype) == (header.channels, *header[:2], header.dtype)
                assert frame.pixels.float().isfinite().all()
                assert (frame.valid is not None) == header.has_mask
                if number // 5 % 4 == 0:  # a part is missing
                    assert torch.equal(frame.pixels, frames[name].pixels)
            count["read"] += 1
        except UserError as error:
            assert str(error).startswith(f"{path}: ")
            assert "\n" not in str(error)
            count["named"] += 1
    assert min(count.values()) > 20
    assert capfd.readouterr() == ("", "")


def test_the_map_of_the_lr_error_is_black_where_there_are_no_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoint, valid = save_checkpoint(tmp_path / "best.ckpt"), make_hole((40, 50))
    write(Path("a.tif"), np.where(valid, make_values("uint8", (3, 40, 50)), 0).astype(np.uint8), nodata=0)
    known = read(Path("a.tif"))[1].all(axis=0)
    run_predict(checkpoint, "a.tif", "b.tif", uncertainty=True)
    with open_image_file(Path("b_lr_error.png")) as file:
        brightness = file.read().pixels.amax(dim=0).numpy()
    assert brightness[~known].max() == brightness.min()
    assert np.median(brightness[known]) > brightness.min()


def test_the_command_writes_a_geotiff_and_skips_what_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoint = save_checkpoint(tmp_path / "best.ckpt")
    write(Path("in/a.tif"), make_values("uint16", (4, 40, 50)), nodata=0)
    for _ in range(2):
        run_predict(checkpoint, "in", "out", bands=[3, 2, 1], preview=True)
    printed = capsys.readouterr()
    assert "1 image finished before" in printed.out
    assert "black and white for the network are" in printed.err
    with rasterio.open("out/a_x2.tif") as dataset:
        assert (dataset.count, dataset.shape, dataset.nodata, dataset.crs.to_epsg()) == (3, (80, 100), 0, 32725)
    notes = json.loads(Path("out/predict.json").read_text())["images"][0]["notes"]
    assert any("black and white for the network" in note for note in notes)
    run_predict(checkpoint, "in/a.tif", "b.tif", range=[0, 60000])
    with rasterio.open("b.tif") as dataset:
        assert (dataset.count, dataset.nodata) == (4, 0)


def test_jpeg_2000_with_a_place_becomes_a_geotiff(tmp_path: Path) -> None:
    plain, source = write(tmp_path / "a.tif", make_values("uint16") // 2, transform=NORTH), tmp_path / "a.jp2"
    options = {"driver": "JP2OpenJPEG", "QUALITY": 100, "REVERSIBLE": "YES", "NBITS": 15}
    import_module("rasterio.shutil").copy(plain, source, **options)
    with open_image_file(source) as file:
        assert (file.header.format, file.metadata.unread) == ("GeoTIFF", ())
    for name, model in (("b.tif", IDENTITY), ("c.tif", BICUBIC)):
        assert upscale(source, tmp_path / name, model).error is None
        require_same_place(source, tmp_path / name)
    assert np.array_equal(read(tmp_path / "b.tif")[0], read(source)[0])
    (tmp_path / "cut.jp2").write_bytes(source.read_bytes()[:-500])
    with pytest.raises(UserError, match=r"cut\.jp2: this image is damaged"):
        open_image_file(tmp_path / "cut.jp2")


@pytest.mark.slow(6)
def test_real_files_have_the_place_and_the_masks_of_their_sources(tmp_path: Path, sr_data: Path) -> None:
    for name in ("RGB.byte.tif", "RGBA.uint16.tif", "float_raster_with_nodata.tif", "L7_ETMs.tif"):
        source, target = sr_data / "satellite" / name, tmp_path / name
        assert upscale(source, target).error is None
        require_same_place(source, target)
        (before, known), (after, also_known) = read(source), read(target)
        assert after.dtype == before.dtype
        assert np.array_equal(known.repeat(2, 1).repeat(2, 2), also_known)
        assert np.isfinite(after[also_known]).all()


@pytest.mark.slow(3)
@pytest.mark.skipif(not shutil.which("gdalinfo"), reason="needs gdalinfo (Debian: gdal-bin)")
@pytest.mark.parametrize("name", ["RGB.byte.tif", "float_raster_with_nodata.tif"])
def test_gdalinfo_finds_the_same_place_bands_and_missing_data(tmp_path: Path, sr_data: Path, name: str) -> None:
    source, target = sr_data / "satellite" / name, tmp_path / name
    assert upscale(source, target).error is None
    before, after = (
        json.loads(subprocess.run(["gdalinfo", "-json", path], check=True, capture_output=True).stdout)
        for path in (source, target)
    )
    assert after["size"] == [2 * side for side in before["size"]]
    assert after["coordinateSystem"]["wkt"] == before["coordinateSystem"]["wkt"]
    for corner, point in before["cornerCoordinates"].items():
        assert after["cornerCoordinates"][corner] == pytest.approx(point, rel=1e-9), corner
    for one, other in zip(before["bands"], after["bands"], strict=True):
        for key in ("type", "noDataValue", "colorInterpretation", "mask"):
            assert str(one.get(key)) == str(other.get(key)), key  # as text: NaN is not equal to itself
