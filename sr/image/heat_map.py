"""Heat maps: numbers of pixels as colors, with the range that the colors stand for."""

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

# Inferno of matplotlib (S. van der Walt and N. Smith, CC0): brighter is more, for color-blind readers as well.
INFERNO = (
    (0, 0, 4), (27, 12, 65), (74, 12, 107), (120, 28, 109), (165, 44, 96), (207, 68, 70), (237, 105, 37), (251, 155, 6),
    (247, 209, 61), (252, 255, 164),
)  # fmt: skip
# Levels of 8 bits that the lightest color stands for, the same for all images, so that they can be compared.
SPREAD_RANGE, ERROR_RANGE, LR_ERROR_RANGE = 8, 32, 8
LEGEND_HEIGHT, FONT_SIZE = 24, 12  # screen pixels


def draw_heat_map(values: Tensor, maximum: float) -> Image.Image:
    """Return numbers `[H, W]` from 0, black, to `maximum` and above, light yellow, as an image of 256 colors of their size."""
    levels = (values.float() / maximum).nan_to_num(0).clamp(0, 1).mul(255).round()
    image = Image.fromarray(levels.byte().cpu().numpy())
    image.putpalette(_make_palette())
    return image


def _make_palette() -> bytes:
    positions = np.linspace(0, 1, len(INFERNO))
    bands = [np.interp(np.linspace(0, 1, 256), positions, band) for band in zip(*INFERNO, strict=True)]
    return np.stack(bands, axis=1).round().astype(np.uint8).tobytes()


def draw_legend(width: int, maximum: float, unit: str) -> Image.Image:
    """Return a bar of all colors, with `0` at its left and the maximum with its unit at its right."""
    ramp = np.linspace(0, maximum, width, dtype=np.float32)[None].repeat(LEGEND_HEIGHT, axis=0)
    bar = draw_heat_map(torch.from_numpy(ramp), maximum).convert("RGB")
    draw, font = ImageDraw.Draw(bar), ImageFont.load_default(FONT_SIZE)
    draw.text((4, LEGEND_HEIGHT // 2), "0", fill="white", font=font, anchor="lm")
    text = f"{maximum:g} {unit} and more"
    draw.text((width - 4, LEGEND_HEIGHT // 2), text, fill="black", font=font, anchor="rm")
    return bar


def describe_range(what: str, maximum: float, unit: str) -> PngInfo:
    """Return the text of a PNG that says what its colors stand for."""
    info = PngInfo()
    info.add_itxt("Description", f"{what}: black 0, light yellow {maximum:g} {unit} and more (color map inferno)")
    return info
