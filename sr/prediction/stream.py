"""Upscale one opened image file into one image writer: frame by frame, strip by strip.

If the file is read in windows and the writer encodes rows as they come, nothing of the size of the image is in memory.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from contextlib import closing
from itertools import chain, islice

import torch
from torch import Tensor

from sr.checkpoint.load import LoadedNet
from sr.image.file_format import Frame, Header, ImageFile, ImageWriter, Window
from sr.image.nearest_rows import NearestRows
from sr.image.row_resizer import RowResizer
from sr.inference.strip import Strip, StripUpscaler
from sr.prediction.levels import Levels
from sr.runtime.ahead import Behind, iterate_ahead

RANGES = {8: (torch.uint8, 255.0), 16: (torch.uint16, 65535.0), 32: (torch.float32, 1.0)}  # depth -> dtype, white


def describe_result(source: Header, model: LoadedNet, depth: int | None, size: tuple[int, int] | None) -> Header:
    """Return the header of the upscaled image, before the limits of its format: `depth` and `size` None are the source's."""
    height, width = size or (model.scale * source.height, model.scale * source.width)
    is_merged = model.color == "gray" and source.channels == 3 and source.format != "GeoTIFF"
    channels = 1 if is_merged else source.channels
    kind = "gray" if channels == 1 else source.kind
    header = source._replace(height=height, width=width, channels=channels, kind=kind)
    if depth is None:
        return header
    dtype, white = RANGES[depth]
    return header if dtype == source.dtype else header._replace(dtype=dtype, black=0.0, white=white)


def upscale_frames(
    upscaler: StripUpscaler,
    levels: Levels,
    file: ImageFile,
    writer: ImageWriter,
    reading: Executor,
    writing: Executor,
    report: Callable[[float], None] | None = None,
) -> None:
    """Upscale the frames of `file` that the result has, and write them.

    `reading` and `writing` have one thread each: the next strip is read, and the last one is encoded, meanwhile. `report` is
    called after each strip with the share of the image, in 0…1, that is upscaled. The frames that the writer has already
    are left out.
    """
    behind, strips = Behind(writing), upscaler.plan_strips(levels.lr_size)
    numbers = range(writer.frames_done, levels.result.frames)
    read = iterate_ahead(chain.from_iterable(_read_strips(file, number, strips) for number in numbers), reading)
    try:
        with closing(read):
            for number in numbers:
                own = islice(read, len(strips))
                for frame in _iterate_result(upscaler, levels, _report_strips(own, levels, number, report)):
                    behind.call(writer.write, frame)
    finally:
        behind.wait()


def upscale_decoded(upscaler: StripUpscaler, levels: Levels, frame: Frame) -> Frame:
    """Return the upscaled image of one that is in memory."""
    rows = [
        (strip, Frame(*(None if layer is None else layer[:, strip.rows.start : strip.rows.stop] for layer in frame)))
        for strip in upscaler.plan_strips(levels.lr_size)
    ]
    pieces = list(_iterate_result(upscaler, levels, rows))
    if len(pieces) == 1:
        return pieces[0]
    return Frame(*(None if layers[0] is None else torch.cat(layers, dim=1) for layers in zip(*pieces, strict=True)))


def upscale_batch(upscaler: StripUpscaler, levels: list[Levels], frames: list[Frame]) -> list[Frame]:
    """Return the upscaled images of small ones of one size and kind, with which the net is called once."""
    (strip,) = upscaler.plan_strips(levels[0].lr_size)
    lr = torch.cat([one.prepare(frame.pixels) for one, frame in zip(levels, frames, strict=True)])
    (part,) = upscaler.iterate_parts(lr, strip, levels[0].lr_size)
    results = []
    for one, frame, sr in zip(levels, frames, part.pixels.split(1), strict=True):
        one.check(sr)
        masks = _Masks(one)
        masks.push(frame, 0)
        alpha = None
        if frame.alpha is not None and frame.valid is None and one.result.has_alpha:
            alpha = one.upscale_alpha(frame.alpha, 0, range(one.net_size[0]))
        results.append(masks.apply(Frame(one.finish(sr), alpha)))
    return results


def _iterate_result(upscaler: StripUpscaler, levels: Levels, strips: Iterable[tuple[Strip, Frame]]) -> Iterator[Frame]:
    """Yield the rows of an upscaled frame that are complete after each strip, from top to bottom."""
    result = levels.result
    size = (result.height, result.width)
    resizer = None if size == levels.net_size else RowResizer(levels.net_size, size)
    masks = _Masks(levels)
    for strip, frame in strips:
        masks.push(frame, strip.rows.start)
        rows, color = _upscale_strip(upscaler, levels, frame.pixels, strip, is_rounded=resizer is None)
        alpha = frame.alpha if result.has_alpha and not levels.source.has_mask else None
        if resizer is None:
            alpha = None if alpha is None else levels.upscale_alpha(alpha, strip.rows.start, rows)
            yield masks.apply(Frame(color, alpha))
            continue
        if alpha is not None:
            alpha = levels.upscale_float_alpha(alpha, strip.rows.start, rows).to(color)
        layers = levels.round(resizer.push(color if alpha is None else torch.cat([color, alpha])))
        if layers.shape[1]:
            yield masks.apply(Frame(layers, None) if alpha is None else Frame(layers[:-1], layers[-1:]))


class _Masks:
    """Upscale the mask of a frame, and the alpha channel of an image with a mask: both are those of the nearest pixel."""

    def __init__(self, levels: Levels) -> None:
        self.levels = levels
        self._layers: dict[str, NearestRows] = {}

    def push(self, frame: Frame, first: int) -> None:
        """Append the rows of a frame of the source, the first of which has the number `first`."""
        if frame.valid is None:
            return
        size = (self.levels.result.height, self.levels.result.width)
        for name in ("alpha", "valid"):
            layer = getattr(frame, name)
            if layer is not None:
                self._layers.setdefault(name, NearestRows(self.levels.lr_size, size)).push(layer, first)

    def apply(self, frame: Frame) -> Frame:
        """Return the next rows of the result, with their masks."""
        if not self._layers:
            return frame
        layers = {name: rows.take(frame.pixels.shape[1]) for name, rows in self._layers.items()}
        return self.levels.apply_mask(frame._replace(**layers))


def _upscale_strip(
    upscaler: StripUpscaler, levels: Levels, pixels: Tensor, strip: Strip, is_rounded: bool
) -> tuple[range, Tensor]:
    """Return the numbers of the rows that are complete after this strip, and them: `[channels, rows, W]`.

    They are in the range of the result, or as the net's (`Levels.clamp`) if they are not to be rounded yet.
    """
    joined: Tensor | None = None
    rows, width = range(0), levels.net_size[1]
    lr = levels.prepare(pixels)
    for complete, columns, sr in upscaler.iterate_parts(lr, strip, levels.lr_size):
        levels.check(sr)
        rows = range(complete.start, complete.stop)
        part = levels.finish(sr) if is_rounded else levels.select_channels(levels.clamp(sr)).cpu()
        if joined is None:
            if part.shape[-1] == width:
                joined = part
                continue
            joined = part.new_empty(*part.shape[:-1], width)
        joined[..., columns] = part
    return rows, joined


def _read_strips(file: ImageFile, number: int, strips: list[Strip]) -> Iterator[tuple[Strip, Frame]]:
    """Yield each strip with the rows that it depends on; rows of two strips are read once."""
    width, first, held = file.header.width, 0, None
    for strip in strips:
        held = None if held is None else _cut_rows(held, strip.rows.start - first)
        first = strip.rows.start
        start = first + (0 if held is None else held.pixels.shape[1])
        if start < strip.rows.stop:
            frame = file.read(number, Window(start, 0, strip.rows.stop - start, width))
            held = frame if held is None else _append_rows(held, frame)
        yield strip, held


def _report_strips(
    strips: Iterable[tuple[Strip, Frame]], levels: Levels, number: int, report: Callable[[float], None] | None
) -> Iterator[tuple[Strip, Frame]]:
    """Yield the strips of frame `number`, and report each one when the next one is asked for: it is upscaled then."""
    for strip, frame in strips:
        yield strip, frame
        if report is not None:
            report((number + strip.bottom / levels.source.height) / levels.result.frames)


def _cut_rows(frame: Frame, first: int) -> Frame:
    return Frame(*(None if layer is None else layer[:, first:] for layer in frame))


def _append_rows(above: Frame, below: Frame) -> Frame:
    return Frame(*(None if a is None else torch.cat([a, b], dim=1) for a, b in zip(above, below, strict=True)))
