"""`preview=true`: one sheet with crops of images before and after: repeated pixels, bicubic upscaling, the result."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from sr.image.file_format import READ_ALL, ImageFile, ReadOptions, Window
from sr.image.formats import find_format, identify_kind
from sr.image.panel import draw_tiles
from sr.image.read import open_image_file
from sr.image.write import to_pil, to_uint8
from sr.prediction.sources import format_name

TILE = 240  # pixels of a crop on the sheet, height and width
MAX_IMAGES = 8
CANDIDATES = 5  # crops per side of an image, of which that with most detail is shown


def draw_preview(images: Sequence[tuple[Path, Path]], options: ReadOptions = READ_ALL) -> Image.Image:
    """Return a sheet with a row for each of up to 8 of the images, evenly chosen: source and result files."""
    count = min(len(images), MAX_IMAGES)
    chosen = [images[k * len(images) // count] for k in range(count)]
    names = Counter(source.name for source, _ in chosen)
    tiles: dict[str, Image.Image] = {}
    for source, result in chosen:
        name = format_name(source.name if names[source.name] == 1 else source)
        before, after = _crop_pair(source, result, options)
        size = (TILE, TILE)
        tiles[f"{name}: pixels"] = before.resize(size, Image.Resampling.NEAREST)
        tiles[f"{name}: bicubic"] = before.resize(size, Image.Resampling.BICUBIC)
        tiles[f"{name}: result"] = after if after.size == size else after.resize(size, Image.Resampling.BICUBIC)
    return draw_tiles(tiles, columns=3)


def _crop_pair(source: Path, result: Path, options: ReadOptions) -> tuple[Image.Image, Image.Image]:
    """Return the square of an image that has most detail, and the same part of its result."""
    with open_image_file(source, options) as before, open_result(result, options) as after:
        (h, w), (height, width) = before.header[:2], after.header[:2]
        if before.header.format == after.header.format == "GeoTIFF":  # whose range is that of its own samples
            after.display = before.header.black, before.header.white
        side = max(1, min(h, w, round(TILE * min(h / height, w / width))))
        tops, lefts = ([k * (n - side) // (CANDIDATES - 1) for k in range(CANDIDATES)] for n in (h, w))
        windows = dict.fromkeys(Window(top, left, side, side) for top in tops for left in lefts)
        crops = {window: read_levels(before, window) for window in windows}
        window = max(crops, key=lambda window: _measure_detail(crops[window]))
        top, left = round(window.top * height / h), round(window.left * width / w)
        bottom, right = round((window.top + side) * height / h), round((window.left + side) * width / w)
        part = read_levels(after, Window(top, left, max(1, bottom - top), max(1, right - left)))
        return _to_rgb(crops[window]), _to_rgb(part)


def open_result(path: Path, options: ReadOptions) -> ImageFile:
    """Open the result of an image that was read with these options, so that its frames are those of the source."""
    kind = identify_kind(path)
    has_axis = kind is not None and kind.is_read and "axis" in find_format(kind.name).read_options
    return open_image_file(path, ReadOptions(axis=options.axis) if has_axis else READ_ALL)


def read_levels(file: ImageFile, window: Window | None = None, has_all_bands: bool = False) -> Tensor:
    """Return the first frame of a file, of a volume the middle one, or a window of it, as a viewer shows it.

    `[1 or 3, H, W]` in 0…1. Alpha is left out, and so are further bands, unless the result `has_all_bands`.
    """
    header, pixels = file.header, file.read(file.middle, window).pixels
    pixels = pixels if len(pixels) in (1, 3) or has_all_bands else pixels[: 3 if len(pixels) > 3 else 1]
    black, white = file.display or (header.black, header.white)
    return ((pixels.float() - black) / (white - black)).clamp(0, 1)


def _measure_detail(crop: Tensor) -> float:
    """Return the mean difference of neighboring pixels."""
    gray = crop.mean(dim=0)
    return float(sum(torch.diff(gray, dim=axis).abs().sum() for axis in (0, 1)))


def _to_rgb(crop: Tensor) -> Image.Image:
    return to_pil(to_uint8(crop)).convert("RGB")
