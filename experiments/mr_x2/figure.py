"""Draw the figure of this study: a part of a test slice, upscaled in three ways, with the true errors and the spread.

    python experiments/mr_x2/figure.py FOLDER/best.ckpt figure.webp

`SR_DATA` is the folder that holds `medical/mr_series`.
"""

import os
import sys
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from sr.checkpoint.load import load_checkpoint
from sr.data.dicom import Dicom
from sr.degrade.kspace import KSpace
from sr.image.heat_map import ERROR_RANGE, SPREAD_RANGE, draw_heat_map
from sr.image.levels import to_unit
from sr.image.panel import draw_tiles, repeat_pixels
from sr.image.resize import upscale_bicubic
from sr.inference.spread import measure_spread
from sr.net.zero_filled import ZeroFilled

SLICE, TOP, LEFT, SIDE, ZOOM = 2, 116, 150, 96, 2  # of the test slices, a part of SIDE² HR pixels


def main() -> None:
    """Draw the figure of the checkpoint and to the file that the command line names."""
    torch.set_num_threads(1)
    net = load_checkpoint(sys.argv[1], torch.device("cpu")).net.eval()
    data = Dicom(
        path="medical/mr_series", scale=2, color="gray", seed=0, root=os.environ["SR_DATA"], degrade=KSpace(2), val=["dicom"],
        test=["dicom"],
    )  # fmt: skip
    data.setup("test")
    images = data.eval_sets["test"][0]
    hr16 = images[SLICE].hr[None]
    hr, lr = (to_unit(x, torch.float64) for x in (hr16, KSpace(2)(hr16)))
    with torch.inference_mode():
        spread = measure_spread([net], lr, "gray", False, None, lambda x: x * 255)[1]
        results = {
            "bicubic": upscale_bicubic(lr, 2),
            "zero-filled": ZeroFilled(2, 1)(lr),
            "network": net(lr.float()).double(),
        }

    def show(image: Tensor) -> Tensor:
        return (crop(image) * 1.6).clamp(0, 1)  # brighter: white is the brightest voxel of the series

    tiles = {
        "LR": repeat_pixels(
            (lr[..., TOP // 2 :, LEFT // 2 :][..., : SIDE // 2, : SIDE // 2] * 1.6).clamp(0, 1), 2 * ZOOM
        )
    }
    tiles |= {name: repeat_pixels(show(image), ZOOM) for name, image in results.items()}
    tiles["HR"] = repeat_pixels(show(hr), ZOOM)
    for name in ("bicubic", "network"):
        error = crop((results[name].clamp(0, 1) - hr).abs())[0, 0] * 255
        tiles[f"error of {name}, 0 to {ERROR_RANGE}"] = repeat(draw_heat_map(error, ERROR_RANGE))
    tiles[f"spread, 0 to {SPREAD_RANGE}"] = repeat(draw_heat_map(crop(spread)[0, 0], SPREAD_RANGE))
    draw_tiles(tiles, columns=4, title=f"{images.names[SLICE]}, x2").save(Path(sys.argv[2]), quality=90, method=6)


def crop(image: Tensor) -> Tensor:
    """Return the part of an image that is shown."""
    return image[..., TOP : TOP + SIDE, LEFT : LEFT + SIDE]


def repeat(image: Image.Image) -> Image.Image:
    """Return an image with repeated pixels."""
    return image.convert("RGB").resize((ZOOM * SIDE, ZOOM * SIDE), 0)


if __name__ == "__main__":
    main()
