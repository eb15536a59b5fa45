"""Print a DISTS-like distance of this study's networks to HR, and draw details of their results.

    python experiments/gan_small_x4/measure.py panel.webp CNN=small_x4 GAN=FOLDER/best.ckpt

`SR_DATA` is the folder that holds Set14 and BSD100. Features are those of the small network of `model/loss=features`.
"""

import os
import sys
from pathlib import Path
from statistics import mean

import torch
from torch import Tensor

from sr.checkpoint.load import load_checkpoint
from sr.image.levels import round_to_levels, to_unit
from sr.image.panel import draw_tiles, repeat_pixels
from sr.image.read import read_rgb
from sr.image.resize import upscale_bicubic
from sr.inference.upscale import upscale
from sr.loss.dists_like import DISTSLike
from sr.loss.features import FILE

SCALE, SIDE, ZOOM = 4, 96, 2
DETAILS = {  # image: set, and the top left corner of the part that is drawn
    "zebra": ("Set14", 20, 150),
    "baboon": ("Set14", 10, 190),
    "119082": ("BSD100", 60, 190),
    "108005": ("BSD100", 70, 180),
    "comic": ("Set14", 40, 90),
    "lenna": ("Set14", 240, 240),
}


def main() -> None:
    """Write the figure, and a line for each set and network."""
    torch.set_grad_enabled(False)
    networks = {}
    for word in sys.argv[2:]:
        name, _, checkpoint = word.partition("=")
        networks[name] = load_checkpoint(checkpoint, torch.device("cpu"))
    distance, tiles = DISTSLike(str(FILE)), {}
    for set_name in ("Set14", "BSD100"):
        values: dict[str, list[float]] = {name: [] for name in ("bicubic", *networks)}
        for path in sorted(Path(os.environ["SR_DATA"], set_name, "HR").glob("*.png")):
            hr, lr = to_unit(read_rgb(path))[None], to_unit(read_rgb(find_lr(path)))[None]
            hr = hr[..., : SCALE * lr.shape[-2], : SCALE * lr.shape[-1]]
            results = {"bicubic": upscale_bicubic(lr, SCALE)}
            results |= {name: upscale(loaded.net, lr, loaded.color) for name, loaded in networks.items()}
            results = {name: to_unit(round_to_levels(result)) for name, result in results.items()}
            for name, result in results.items():
                values[name].append(distance(result, hr).item())
            if path.stem in DETAILS:
                _, top, left = DETAILS[path.stem]
                for name, image in {**results, "HR": hr}.items():
                    tiles[f"{path.stem}, {name}"] = repeat_pixels(cut(image, top, left), ZOOM)
        for name, of_images in values.items():
            print(f"{set_name}, {name}: {mean(of_images):.4f}")
    draw_tiles(tiles, columns=2 + len(networks)).save(sys.argv[1], quality=90)


def find_lr(path: Path) -> Path:
    """Return the bicubic LR image of an HR image."""
    return path.parents[1] / "LR_bicubic" / f"X{SCALE}" / f"{path.stem}x{SCALE}.png"


def cut(image: Tensor, top: int, left: int) -> Tensor:
    """Cut a square out of an image `[1, C, H, W]`."""
    return image[..., top : top + SIDE, left : left + SIDE]


if __name__ == "__main__":
    main()
