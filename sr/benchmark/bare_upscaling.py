"""Upscale a folder of images as a short script of one's own does: the reference of `sr.bench parts=[predict]`.

It runs as a process of its own, `python -m sr.benchmark.bare_upscaling plain|tuned NET.json WEIGHTS.pth FOLDER OUTPUT`:

* `plain`: spandrel loads the weights; the loop over Pillow images of its documentation;
* `tuned`: only torch, Pillow and the net's own module are imported; memory format `channels_last`, `inference_mode`; PNG of
  Pillow's lowest level of compression. Its caller sets glibc's malloc to retain freed memory.

`plain` writes PNG as Pillow does by default. An image of more than 2²⁰ pixels goes through the net in tiles as large as those of
`sr.predict`: no net of use takes 12 megapixels as a whole.
"""

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

MAX_PIXELS = 1 << 20  # of an image that is upscaled as a whole
TILE, MARGIN = 512, 32  # LR pixels


def load_with_spandrel(file: Path) -> nn.Module:
    """Return the net of a weight file, whose architecture spandrel detects."""
    from sr.runtime import torchvision_shim

    torchvision_shim.install()  # spandrel imports torchvision
    from spandrel import ModelLoader

    return ModelLoader(device="cpu").load_from_file(file).eval().model


def load_tuned(description: Path, file: Path) -> nn.Module:
    """Return the net that `description` names, in the memory format in which convolutions are fastest."""
    options = json.loads(description.read_text(encoding="utf-8"))
    module, _, name = options.pop("_target_").rpartition(".")
    net = getattr(importlib.import_module(module), name)(**options)
    net.load_state_dict(torch.load(file, weights_only=True))
    return net.eval().to(memory_format=torch.channels_last)


def upscale_image(net: Callable[[Tensor], Tensor], pixels: np.ndarray, scale: int) -> np.ndarray:
    """Return the upscaled image: uint8 `[h, w, 3]` -> `[s·h, s·w, 3]`."""
    h, w = pixels.shape[:2]
    if h * w <= MAX_PIXELS:
        return upscale_tile(net, pixels)
    result = np.empty((scale * h, scale * w, 3), np.uint8)
    for y in range(0, h, TILE):
        for x in range(0, w, TILE):
            bottom, right, top, left = min(y + TILE, h), min(x + TILE, w), max(y - MARGIN, 0), max(x - MARGIN, 0)
            tile = upscale_tile(net, pixels[top : bottom + MARGIN, left : right + MARGIN])
            cut = tile[scale * (y - top) :, scale * (x - left) :][: scale * (bottom - y), : scale * (right - x)]
            result[scale * y : scale * bottom, scale * x : scale * right] = cut
    return result


def upscale_tile(net: Callable[[Tensor], Tensor], pixels: np.ndarray) -> np.ndarray:
    """Apply the net to uint8 pixels `[h, w, 3]`, and round its output."""
    lr = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    sr = net(lr)[0].mul_(255).round_().clamp_(0, 255).byte()
    return sr.permute(1, 2, 0).numpy()


def main() -> None:
    """Upscale the images of a folder into another one."""
    kind, description, weights, source, target = sys.argv[1], *map(Path, sys.argv[2:])
    net = load_with_spandrel(weights) if kind == "plain" else load_tuned(description, weights)
    scale = json.loads(description.read_text(encoding="utf-8"))["scale"]
    png_options = {} if kind == "plain" else {"compress_level": 1}
    with torch.no_grad() if kind == "plain" else torch.inference_mode():
        for file in sorted(source.iterdir()):
            with Image.open(file) as image:
                pixels = np.array(image.convert("RGB"))
            Image.fromarray(upscale_image(net, pixels, scale)).save(target / file.name, **png_options)


if __name__ == "__main__":
    main()
