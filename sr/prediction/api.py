"""Load a net and upscale images with it: `sr.load` and `sr.upscale`, which `sr.predict` uses as well."""

from collections.abc import Sequence
from pathlib import Path

import torch

from sr.checkpoint.load import LoadedNet, load_checkpoint
from sr.config.build import select_device
from sr.image.color import rgb_to_gray
from sr.image.convert import ImageT, Pixels, from_pixels, to_pixels
from sr.image.resize import imresize
from sr.image.write import to_uint8
from sr.inference.memory import report_out_of_memory
from sr.inference.upscale import upscale as upscale_batch
from sr.runtime.error import UserError


def load(
    checkpoint: str | Path, device: str | torch.device = "auto", trust: Sequence[str] = (), scale: int | None = None
) -> LoadedNet:
    """Load the net of a checkpoint, for `upscale`.

    Args:
        checkpoint: `best.ckpt` of a run, the run's folder, or a published weight file (.pth, .safetensors, .npz), whose
            architecture is detected.
        device: `cpu`, `cuda`, `cuda:1`, `mps`, or `auto` for the accelerator of this machine, if there is one.
        trust: modules of your own whose classes the checkpoint may build.
        scale: needed only for a published file whose weights serve several scales, as VDSR's.

    Returns:
        The net with all that the file says about it: `net` (an `nn.Module` in eval mode), `scale`, `color` (rgb, y or
        gray), `channels` (of the net), `config` (of its training), `metrics` (at its last validation), `step`.

    Raises:
        UserError: the file is missing, damaged, or not the weights of a known net; nothing in it was executed.
    """
    return load_checkpoint(Path(checkpoint).expanduser(), select_device(device), trust, scale)


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
        tile: upscale in tiles of this many LR pixels a side, for images that do not fit in memory.

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

    `[B, 1 or 3, h, w]` -> `[B, 1 or 3, s·h, s·w]`, in the same dtype: uint8 is rounded, float is clamped to 0…1.
    """
    lr, is_gray = pixels.color, pixels.color.shape[1] == 1
    if model.color == "gray":
        lr = rgb_to_gray(lr)
    elif is_gray:
        lr = lr.expand(-1, 3, -1, -1)
    lr = lr.to(model.device)
    lr = lr.float() / 255 if lr.dtype == torch.uint8 else lr.float()

    with report_out_of_memory(f"{name}: an image of {lr.shape[3]}×{lr.shape[2]}"):
        sr = upscale_batch(model.net, lr, model.color, ensemble, tile)  # [B, 1 or 3, s·h, s·w]
    if not sr.isfinite().all():
        raise UserError(f"{name}: the net's output is NaN or infinite; its weights are damaged")

    sr = to_uint8(sr) if pixels.color.dtype == torch.uint8 else sr.clamp(0, 1)
    sr = rgb_to_gray(sr) if is_gray else sr
    alpha = None if pixels.alpha is None else imresize(pixels.alpha, model.scale)
    return Pixels(sr.to(pixels.color.device, pixels.color.dtype), alpha)
