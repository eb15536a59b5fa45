"""Write GeoTIFFs block by block, as the rows come: the same ground as the source, with its mask, tags, layout and overviews."""

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sr.image.file_format import Frame, Header, ImageWriter
from sr.image.format.geotiff_library import use_rasterio
from sr.image.format.geotiff_source import LOSSLESS, GeoSource, is_copied

NAMES = (
    "place on Earth (CRS, transform)",
    "mask and nodata value",
    "tags of bands",
)  # of what other formats do not hold
MAX_BLOCK = 1024  # side of a tile
SMALLEST_OVERVIEW = 256  # pixels of its longer side, of a file whose source has overviews
STATISTICS = "STATISTICS_"  # how tags begin that a result does not have: they are of other samples


class GeoNative(NamedTuple):
    """Hold what the result of a GeoTIFF gets of it."""

    source: GeoSource
    crs: Any
    transform: Any
    gcps: tuple[list[Any], Any]  # ground control points, and their CRS
    rpcs: Any
    tags: Mapping[str | None, Mapping[str, str]]  # domain -> tags
    bands: list[dict[str, Any]]  # of each band of the result
    creation: Mapping[str, Any]  # options of GDAL
    has_overviews: bool
    is_cog: bool
    names: tuple[str, ...] = NAMES


def read_native(dataset: Any, source: GeoSource) -> GeoNative:
    """Return what the result of a dataset of rasterio gets of it."""
    structure = dataset.tags(ns="IMAGE_STRUCTURE")
    spaces = [None, *(space for space in dataset.tag_namespaces() if is_copied(space))]
    indexes = [*source.stored, *([source.alpha] if source.alpha else [])]
    bands = [
        {
            "tags": {name: text for name, text in dataset.tags(k).items() if not name.startswith(STATISTICS)},
            "description": dataset.descriptions[k - 1], "color": _find_color(dataset, source, k),
            "scale": dataset.scales[k - 1], "offset": dataset.offsets[k - 1], "unit": dataset.units[k - 1],
        }
        for k in indexes
    ]  # fmt: skip
    return GeoNative(
        source, dataset.crs, dataset.transform, dataset.gcps, dataset.rpcs,
        {space: dataset.tags(ns=space) for space in spaces},
        bands, _choose_creation(dataset, source, structure, indexes),
        bool(dataset.overviews(1)), structure.get("LAYOUT") == "COG",
    )  # fmt: skip


class GeoTiffWriter(ImageWriter):
    """A GeoTIFF. Rows are collected until a row of its strips or tiles is complete."""

    is_streaming = True

    def __init__(self, path: Path, header: Header, native: GeoNative) -> None:
        self.path, self.header, self.native = path, header, native
        source = native.source
        # Where the channels of a frame are in the result.
        self._order = [source.indexes.index(index) for index in source.stored]
        self._rows: list[tuple[np.ndarray, np.ndarray | None]] = []  # [C, n, W], bool [1 or C, n, W]
        self._waiting = self._written = 0
        with use_rasterio(path, GDAL_PAM_ENABLED=False) as rasterio:
            self._dataset = rasterio.open(path, "w", **self._describe())
            self._describe_bands()
            self._block_rows = self._dataset.block_shapes[0][0]
            if not self._dataset.profile.get("tiled"):
                self._block_rows = max(self._block_rows, 64)

    def write(self, frame: Frame) -> None:
        """Append rows `[channels, rows, W]`."""
        samples, valid = self._to_stored(frame)
        while samples.shape[1]:
            count = min(samples.shape[1], self._block_rows - self._waiting)
            self._rows.append((samples[:, :count], None if valid is None else valid[:, :count]))
            self._waiting += count
            samples, valid = samples[:, count:], None if valid is None else valid[:, count:]
            if self._waiting == self._block_rows or self._written + self._waiting == self.header.height:
                self._write_rows()

    def close(self) -> None:
        """Complete the file: overviews, and the order of a COG."""
        with use_rasterio(self.path, GDAL_PAM_ENABLED=False) as rasterio:
            self._dataset.close()
            if self.native.is_cog:
                self._rewrite_as_cog(rasterio)
            elif self.native.has_overviews:
                with rasterio.open(self.path, "r+") as dataset:
                    dataset.build_overviews(_list_factors(self.header), rasterio.enums.Resampling.average)

    def _to_stored(self, frame: Frame) -> tuple[np.ndarray, np.ndarray | None]:
        """Return samples `[C, n, W]` in the type of the file, and which are data, `[1 or C, n, W]`."""
        source = self.native.source
        values = _convert(frame.pixels.numpy()[self._order], source.dtype)
        valid = None if frame.valid is None else frame.valid.numpy()
        if valid is not None:
            valid = valid[self._order] if len(valid) > 1 else valid
            if source.nodata is not None:
                values = _avoid_value(values, source.nodata)
            fill = source.nodata if source.nodata is not None else np.nan if source.dtype.kind == "f" else 0
            values = np.where(valid, values, np.array(fill).astype(source.dtype))
        if frame.alpha is not None:
            values = np.concatenate([values, _convert(frame.alpha.numpy(), source.dtype)])
        return values, valid

    def _write_rows(self) -> None:
        from rasterio.windows import Window as RasterWindow

        samples = np.concatenate([rows for rows, _ in self._rows], axis=1)
        place = RasterWindow(0, self._written, self.header.width, self._waiting)
        with use_rasterio(self.path, GDAL_PAM_ENABLED=False):
            self._dataset.write(samples, window=place)
            if self.native.source.mask == "internal":
                valid = np.concatenate([valid for _, valid in self._rows], axis=1)
                self._dataset.write_mask(valid.all(axis=0).astype(np.uint8) * 255, window=place)
        self._written += self._waiting
        self._rows, self._waiting = [], 0

    def _describe(self) -> dict[str, Any]:
        """Return the arguments of `rasterio.open`."""
        native, source = self.native, self.native.source
        down, across = self.header.height / source.height, self.header.width / source.width
        options = {
            "driver": "GTiff", "height": self.header.height, "width": self.header.width, "count": len(native.bands),
            "dtype": source.dtype.name, "BIGTIFF": "IF_SAFER", **native.creation,
        }  # fmt: skip
        if source.nodata is not None:
            options["nodata"] = source.nodata
        if native.gcps[0]:
            options["gcps"] = [_scale_point(point, down, across) for point in native.gcps[0]]
            options["crs"] = native.gcps[1]
        else:
            options["crs"] = native.crs
            if not native.transform.is_identity:
                a, b, c, d, e, f = native.transform[:6]
                options["transform"] = type(native.transform)(a / across, b / down, c, d / across, e / down, f)
        if native.rpcs is not None:
            options["rpcs"] = _scale_rpcs(native.rpcs, down, across)
        return options

    def _describe_bands(self) -> None:
        dataset, bands = self._dataset, self.native.bands
        dataset.colorinterp = [band["color"] for band in bands]
        dataset.scales = [band["scale"] for band in bands]
        dataset.offsets = [band["offset"] for band in bands]
        for space, tags in self.native.tags.items():
            dataset.update_tags(ns=space, **tags)
        for k, band in enumerate(bands, 1):
            if band["tags"]:
                dataset.update_tags(k, **band["tags"])
            if band["description"]:
                dataset.set_band_description(k, band["description"])
            if band["unit"]:
                dataset.set_band_unit(k, band["unit"])

    def _rewrite_as_cog(self, rasterio: Any) -> None:
        import rasterio.shutil

        creation = self.native.creation
        options = {"COMPRESS": creation.get("compress", "none"), "BLOCKSIZE": creation.get("blockxsize", 512)}
        if "predictor" in creation:
            options["PREDICTOR"] = {2: "STANDARD", 3: "FLOATING_POINT"}[creation["predictor"]]
        temporary = self.path.with_name(f".{uuid.uuid4().hex}.part")
        try:
            rasterio.shutil.copy(
                self.path, temporary, driver="COG", BIGTIFF="IF_SAFER", OVERVIEW_RESAMPLING="AVERAGE", **options
            )
            temporary.replace(self.path)
        finally:
            temporary.unlink(missing_ok=True)


def _find_color(dataset: Any, source: GeoSource, index: int) -> Any:
    """Return the color interpretation of a band; alpha that was chosen as a band is none."""
    from rasterio.enums import ColorInterp

    color = dataset.colorinterp[index - 1]
    return ColorInterp.undefined if color == ColorInterp.alpha and index != source.alpha else color


def _choose_creation(
    dataset: Any, source: GeoSource, structure: Mapping[str, str], indexes: list[int]
) -> dict[str, Any]:
    """Return the options of GDAL for a result of the source's layout: a lossy compression becomes deflate."""
    from rasterio.enums import ColorInterp

    is_tiff = dataset.driver == "GTiff"
    found = structure.get("COMPRESSION", "" if is_tiff else "JPEG2000").lower()
    compression = found if found in LOSSLESS else "deflate" if found else None
    options: dict[str, Any] = {"interleave": dataset.profile.get("interleave", "pixel")}
    if compression:
        options["compress"] = compression
        if compression in ("lzw", "deflate", "zstd"):
            options["predictor"] = 3 if source.dtype.kind == "f" else 2
    if source.is_tiled:
        sides = {min(side, MAX_BLOCK) for side in source.block if side % 16 == 0}
        options |= {"tiled": True, "blockxsize": max(sides, default=256), "blockysize": max(sides, default=256)}
    colors = [dataset.colorinterp[k - 1] for k in indexes]
    is_rgb = colors[:3] == [ColorInterp.red, ColorInterp.green, ColorInterp.blue]
    options["photometric"] = "RGB" if is_rgb else "MINISBLACK"
    if source.alpha:
        kind = dataset.tags(source.alpha, ns="IMAGE_STRUCTURE").get("ALPHA", "")
        options["alpha"] = "PREMULTIPLIED" if kind == "PREMULTIPLIED" else "NON-PREMULTIPLIED"
    if is_tiff and source.bits < 8 * source.dtype.itemsize:
        options["nbits"] = source.bits
    return options


def _convert(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return samples of a frame in the type of the file."""
    if dtype.kind == "f" or values.dtype.kind != "f":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    rounded = np.rint(values.astype(np.float64))
    return np.clip(rounded, float(limits.min), np.nextafter(float(limits.max) + 1, 0)).astype(dtype)


def _avoid_value(values: np.ndarray, nodata: float) -> np.ndarray:
    """Return samples of which none is the nodata value: those that are become the next number that GDAL distinguishes."""
    value = np.array(nodata).astype(values.dtype)
    if values.dtype.kind != "f":
        is_largest = value == np.iinfo(values.dtype).max
        return np.where(values == value, value - 1 if is_largest else value + 1, values).astype(values.dtype)
    if not np.isfinite(value):
        return values
    limits = np.finfo(values.dtype)
    # GDAL's ARE_REAL_EQUAL, with which it compares floats to the nodata value.
    difference, total = values.astype(np.float64) - float(value), values.astype(np.float64) + float(value)
    is_equal = (difference == 0) | (np.abs(difference) < 2 * limits.eps * np.abs(total))
    other = np.array(value * (1 - 8 * limits.eps) if value else limits.tiny).astype(values.dtype)
    return np.where(is_equal, other, values)


def _list_factors(header: Header) -> list[int]:
    factors, factor = [], 2
    while max(header.height, header.width) / factor >= SMALLEST_OVERVIEW / 2 or not factors:
        factors.append(factor)
        factor *= 2
    return factors


def _scale_point(point: Any, down: float, across: float) -> Any:
    """Return a ground control point whose row and column, which count from the corner of the image, are those of the result."""
    from rasterio.control import GroundControlPoint

    return GroundControlPoint(point.row * down, point.col * across, point.x, point.y, point.z, point.id, point.info)


def _scale_rpcs(rpcs: Any, down: float, across: float) -> Any:
    """Return rational polynomial coefficients of the result: lines and samples count from the center of the first pixel."""
    from rasterio.rpc import RPC

    fields = rpcs.to_dict()
    for name, factor in (("line", down), ("samp", across)):
        fields[f"{name}_off"] = (fields[f"{name}_off"] + 0.5) * factor - 0.5
        fields[f"{name}_scale"] *= factor
    return RPC(**fields)
