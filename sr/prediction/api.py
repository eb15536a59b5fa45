"""Load a net and upscale images with it: `sr.load` and `sr.upscale`, which `sr.predict` uses as well."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from sr.checkpoint.load import LoadedNet, load_checkpoint
from sr.config.build import select_device
from sr.image.color import rgb_to_gray
from sr.image.convert import ImageT, Pixels, from_pixels, to_pixels
from sr.image.resize import imresize
from sr.image.write import to_uint8
from sr.inference.layout import prepare_net
from sr.inference.memory import advise_tile, report_out_of_memory
from sr.inference.tile import Part, join_parts
from sr.inference.upscale import iterate_parts
from sr.runtime.error import UserError
from sr.track.stored_checkpoint import find_file

SPLIT = "split the image, or use a machine with more memory"


def load(
    checkpoint: str | Path, device: str | torch.device = "auto", trust: Sequence[str] = (), scale: int | None = None
) -> LoadedNet:
    """Load the net of a checkpoint, for `upscale`.

    Args:
        checkpoint: the name of a network (`realesrgan_x4plus`; sr.predict --models lists them), `best.ckpt` of a run, the
            run's folder, a published weight file (.pth, .safetensors, .npz, .param), whose architecture is detected, or what
            MLflow has: `mlflow:RUN_ID`, `models:/sr@champion`, `models:/sr/3`.
        device: `cpu`, `cuda`, `cuda:1`, `mps`, or `auto` for the accelerator of this machine, if there is one.
        trust: modules of your own whose classes the checkpoint may build.
        scale: needed only for a published file whose weights serve several scales, as VDSR's.

    Returns:
        The net with all that the file says about it: `net` (an `nn.Module` in eval mode), `scale`, `color` (rgb, y or
        gray), `channels` (of the net), `config` (of its training), `metrics` (at its last validation), `step`.

    Raises:
        UserError: the file is missing, damaged, or not the weights of a known net; nothing in it was executed.
    """
    if isinstance(checkpoint, str):
        checkpoint = find_file("checkpoint", checkpoint)
    device = select_device(device)
    model = load_checkpoint(checkpoint, device, trust, scale)
    prepare_net(model.net, device)
    return model


def upscale(model: LoadedNet, image: ImageT, ensemble: bool = False, tile: int | None = None) -> ImageT:
    """Upscale an image by `model.scale` and return it as the same kind of image.

    Args:
        model: of `load`.
        image: one of
            a NumPy array `[H, W]` or `[H, W, C]`,
            a Pillow image (gray, RGB or palette, with or without alpha; alpha is upscaled bicubically),
            a tensor `[C, H, W]` or `[B, C, H, W]`, on any device.
            C is 1 or 3; arrays and tensors are uint8, or float in 0…1.
        ensemble: average over the eight flips and rotations of the image: slightly better, eight times slower.
        tile: upscale in tiles of this many LR pixels a side, for images that do not fit in memory; None: the whole image
            up to 2²⁰ LR pixels, in tiles of 512 or 768 above that.

    Returns:
        The image, with the dtype, the number of dimensions and the device of the input; float is clamped to 0…1. Gray
        stays gray, and a net of color=gray makes every image gray.

    Raises:
        UserError: not an image, it does not fit in memory, or the net's weights give NaN.
    """
    pixels = to_pixels(image)
    return from_pixels(upscale_pixels(model, pixels, ensemble, tile), image)


@torch.no_grad()
def upscale_pixels(
    model: LoadedNet, pixels: Pixels, ensemble: bool = False, tile: int | None = None, name: str = "image"
) -> Pixels:
    """Upscale the pixels of images of one size; `name` is what messages call them.

    `[B, 1 or 3, h, w]` -> `[B, 1 or 3, s·h, s·w]`, in the same dtype: uint8 is rounded, float is clamped to 0…1. Each tile
    is rounded before the next one is computed, so that of the whole image only the result is held in memory.
    """
    lr, is_gray = pixels.color, pixels.color.shape[1] == 1
    if model.color == "bands" and lr.shape[1] != model.channels:
        raise UserError(
            f"{name}: expected an image of {model.channels} bands, as the network has (found {lr.shape[1]}); GeoTIFFs are "
            "upscaled by sr.predict"
        )
    if model.color == "gray":
        lr = rgb_to_gray(lr)
    elif is_gray and model.color != "bands":
        lr = lr.expand(-1, 3, -1, -1)
    lr = lr.to(model.device)
    lr = lr if lr.dtype == torch.uint8 else lr.float()

    def convert(part: Part) -> Part:
        """Return the part as the result has it: rounded or clamped, gray as the input, on its device."""
        sr = part.pixels
        if not sr.isfinite().all():
            raise UserError(f"{name}: the net's output is NaN or infinite; its weights are damaged")
        sr = to_uint8(sr) if pixels.color.dtype == torch.uint8 else sr.clamp(0, 1)
        sr = rgb_to_gray(sr) if is_gray and sr.shape[1] == 3 else sr
        return part._replace(pixels=sr.to(pixels.color.device, pixels.color.dtype))

    (h, w), scale = lr.shape[-2:], model.scale
    with report_out_of_memory(f"{name}: the result of {scale * w}×{scale * h}", SPLIT):
        parts = _iterate_parts(model, lr, ensemble, tile, f"{name}: an image of {w}×{h}")
        # Channels last, as image files have them.
        color = join_parts(map(convert, parts), (scale * h, scale * w), torch.channels_last)
        alpha = None if pixels.alpha is None else imresize(pixels.alpha, scale)
    return Pixels(color, alpha)


def _iterate_parts(model: LoadedNet, lr: Tensor, ensemble: bool, tile: int | None, image: str) -> Iterator[Part]:
    """Yield the parts of the upscaled image; if the net does not fit in memory, say which `tile` may help."""
    parts = iterate_parts(model.net, lr, model.color, ensemble, tile)
    while True:
        with report_out_of_memory(image, advise_tile(model.net, tuple(lr.shape[-2:]), tile)):
            part = next(parts, None)
        if part is None:
            return
        yield part
