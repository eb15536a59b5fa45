"""Upscale one opened image file into one image writer, frame by frame."""

from typing import NamedTuple

import torch
from torch import Tensor

from sr.checkpoint.load import LoadedNet
from sr.image.color import rgb_to_gray
from sr.image.file_format import Frame, Header, ImageFile, ImageWriter
from sr.image.resize import imresize
from sr.inference.upscale import upscale
from sr.runtime.error import UserError

RANGES = {8: (torch.uint8, 255.0), 16: (torch.uint16, 65535.0), 32: (torch.float32, 1.0)}  # depth -> dtype, white


class StreamOptions(NamedTuple):
    """Options for all images of a command."""

    ensemble: bool = False  # the mean over eight flips and rotations
    tile: int | None = None  # LR pixels a side; None: chosen by memory
    overlap: int | None = None  # LR pixels that a tile sees on each side of it; None: the net's receptive field
    memory: int | None = None  # bytes; None: half of what is free


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


@torch.inference_mode()
def upscale_frames(
    model: LoadedNet, file: ImageFile, writer: ImageWriter, result: Header, options: StreamOptions, name: str
) -> None:
    """Upscale the first `result.frames` frames of `file` and write them; `name` is what messages call the image."""
    for number in range(result.frames):
        frame = file.read(number)
        source = file.header
        color = _upscale_color(model, frame.pixels, source, result, options, name)
        alpha = None
        if frame.alpha is not None and result.has_alpha:
            alpha = _resize_alpha(frame.alpha, source, result)
        writer.write(Frame(color, alpha))


def _upscale_color(
    model: LoadedNet, pixels: Tensor, source: Header, result: Header, options: StreamOptions, name: str
) -> Tensor:
    lr = (pixels[None].float() - source.black) / (source.white - source.black)
    if not lr.isfinite().all():
        raise UserError(f"{name}: expected numbers (found NaN or infinity among its pixels); replace them")
    is_gray = source.channels == 1
    lr = rgb_to_gray(lr) if model.color == "gray" else lr.expand(-1, 3, -1, -1) if is_gray else lr
    sr = upscale(model.net, lr.to(model.device), model.color, options.ensemble, options.tile)
    if not sr.isfinite().all():
        raise UserError(f"{name}: the net's output is NaN or infinite; its weights are damaged")
    size = (result.height, result.width)
    sr = sr if sr.shape[-2:] == size else imresize(sr.clamp(0, 1), size=size)
    if is_gray:
        sr = rgb_to_gray(_round_levels(sr, result) if result.dtype == torch.uint8 else sr)
        if sr.dtype == torch.uint8:
            return sr[0].cpu()
    return _round_levels(sr, result)[0].cpu()


def _resize_alpha(alpha: Tensor, source: Header, result: Header) -> Tensor:
    size = (result.height, result.width)
    if source.dtype == result.dtype == torch.uint8:
        return imresize(alpha, size=size)
    levels = (alpha.double() - source.black) / (source.white - source.black)
    return _round_levels(imresize(levels, size=size).clamp(0, 1), result)


def _round_levels(sr: Tensor, result: Header) -> Tensor:
    """Convert 0…1 to the result's range: integers are clamped and rounded half up, floats are left as they are."""
    levels = sr * (result.white - result.black) + result.black
    if result.dtype.is_floating_point:
        return levels.to(result.dtype)
    return (levels + 0.5).clamp(result.black, result.white).to(result.dtype)
