"""Upscale one opened image file into one image writer: frame by frame, strip by strip.

If the file is read in windows and the writer encodes rows as they come, nothing of the size of the image is in memory.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from contextlib import closing

import torch
from torch import Tensor

from sr.checkpoint.load import LoadedNet
from sr.image.file_format import Frame, Header, ImageFile, ImageWriter, Window
from sr.image.row_resizer import RowResizer
from sr.inference.strip import Strip, StripUpscaler
from sr.prediction.levels import Levels
from sr.runtime.ahead import Behind, iterate_ahead

RANGES = {8: (torch.uint8, 255.0), 16: (torch.uint16, 65535.0), 32: (torch.float32, 1.0)}  # depth -> dtype, white


def describe_result(source: Header, model: LoadedNet, depth: int | None, size: tuple[int, int] | None) -> Header:
    """Return the header of the upscaled image, before the limits of its format: `depth` and `size` None are the source's."""
    height, width = size or (model.scale * source.height, model.scale * source.width)
    channels = 1 if model.color == "gray" and source.channels == 3 else source.channels
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
) -> None:
    """Upscale the frames of `file` that the result has, and write them.

    `reading` and `writing` have one thread each: the next strip is read, and the last one is encoded, meanwhile.
    """
    behind = Behind(writing)
    try:
        for number in range(levels.result.frames):
            strips = iterate_ahead(_read_strips(file, number, upscaler.plan_strips(levels.lr_size)), reading)
            with closing(strips):
                for frame in _iterate_result(upscaler, levels, strips):
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
    alpha = None if pieces[0].alpha is None else torch.cat([piece.alpha for piece in pieces], dim=1)
    return Frame(torch.cat([piece.pixels for piece in pieces], dim=1), alpha)


def upscale_batch(upscaler: StripUpscaler, levels: list[Levels], frames: list[Frame]) -> list[Frame]:
    """Return the upscaled images of small ones of one size and kind, with which the net is called once."""
    (strip,) = upscaler.plan_strips(levels[0].lr_size)
    lr = torch.cat([one.prepare(frame.pixels) for one, frame in zip(levels, frames, strict=True)])
    (part,) = upscaler.iterate_parts(lr, strip, levels[0].lr_size)
    results = []
    for one, frame, sr in zip(levels, frames, part.pixels.split(1), strict=True):
        one.check(sr)
        alpha = None
        if frame.alpha is not None and one.result.has_alpha:
            alpha = one.upscale_alpha(frame.alpha, 0, range(one.net_size[0]))
        results.append(Frame(one.finish(sr), alpha))
    return results


def _iterate_result(upscaler: StripUpscaler, levels: Levels, strips: Iterable[tuple[Strip, Frame]]) -> Iterator[Frame]:
    """Yield the rows of an upscaled frame that are complete after each strip, from top to bottom."""
    result = levels.result
    resizer = None
    if (result.height, result.width) != levels.net_size:
        resizer = RowResizer(levels.net_size, (result.height, result.width))
    for strip, frame in strips:
        rows, color = _upscale_strip(upscaler, levels, frame.pixels, strip, is_rounded=resizer is None)
        alpha = frame.alpha if result.has_alpha else None
        if resizer is None:
            yield Frame(color, None if alpha is None else levels.upscale_alpha(alpha, strip.rows.start, rows))
            continue
        if alpha is not None:
            alpha = levels.upscale_float_alpha(alpha, strip.rows.start, rows).to(color)
        layers = levels.round(resizer.push(color if alpha is None else torch.cat([color, alpha])))
        if layers.shape[1]:
            yield Frame(layers, None) if alpha is None else Frame(layers[:-1], layers[-1:])


def _upscale_strip(
    upscaler: StripUpscaler, levels: Levels, pixels: Tensor, strip: Strip, is_rounded: bool
) -> tuple[range, Tensor]:
    """Return the numbers of the rows that are complete after this strip, and them: `[channels, rows, W]`.

    They are in the range of the result, or in 0…1 if they are not to be rounded yet.
    """
    joined: Tensor | None = None
    rows, width = range(0), levels.net_size[1]
    lr = levels.prepare(pixels)
    for complete, columns, sr in upscaler.iterate_parts(lr, strip, levels.lr_size):
        levels.check(sr)
        rows = range(complete.start, complete.stop)
        part = levels.finish(sr) if is_rounded else levels.select_channels(sr.clamp(0, 1)).cpu()
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


def _cut_rows(frame: Frame, first: int) -> Frame:
    return Frame(frame.pixels[:, first:], None if frame.alpha is None else frame.alpha[:, first:])


def _append_rows(above: Frame, below: Frame) -> Frame:
    pixels = torch.cat([above.pixels, below.pixels], dim=1)
    return Frame(pixels, None if above.alpha is None else torch.cat([above.alpha, below.alpha], dim=1))
