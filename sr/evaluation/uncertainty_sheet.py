"""A sheet of maps of one image: its result, the spread, the true error, and what contradicts LR, each with its range."""

from PIL import Image
from torch import Tensor

from sr.image.heat_map import ERROR_RANGE, LEGEND_HEIGHT, LR_ERROR_RANGE, SPREAD_RANGE, draw_heat_map, draw_legend
from sr.image.panel import draw_tiles
from sr.image.write import to_pil, to_uint8

MAX_SIDE = 384  # screen pixels of a map; a larger one is reduced
MIN_SIDE = 192  # a smaller one is shown with repeated pixels


def draw_sheet(sr: Tensor, spread: Tensor, error: Tensor, lr_error: Tensor | None, scale: int) -> Image.Image:
    """Return the sheet of one image: `sr` `[C, H, W]` in 0…1, `spread` and `error` `[H - 2b, W - 2b]`, `lr_error` `[h, w]`."""
    border = (sr.shape[-1] - spread.shape[-1]) // 2
    inner = sr[..., border : sr.shape[-2] - border, border : sr.shape[-1] - border]
    image = to_pil(to_uint8(inner.cpu().float()))
    size = _choose_size(image.size)
    tiles = {
        "result": _frame(image, size, None),
        f"spread, 0 to {SPREAD_RANGE} levels": _frame(draw_heat_map(spread, SPREAD_RANGE), size, SPREAD_RANGE),
        f"true error, 0 to {ERROR_RANGE} levels": _frame(draw_heat_map(error, ERROR_RANGE), size, ERROR_RANGE),
    }
    if lr_error is not None:
        b = border // scale
        part = lr_error[b : lr_error.shape[0] - b, b : lr_error.shape[1] - b]
        title = f"degraded result - LR, 0 to {LR_ERROR_RANGE} levels"
        tiles[title] = _frame(draw_heat_map(part, LR_ERROR_RANGE), size, LR_ERROR_RANGE)
    return draw_tiles(tiles, columns=len(tiles))


def _choose_size(size: tuple[int, int]) -> tuple[int, int]:
    longest = max(size)
    factor = MAX_SIDE / longest if longest > MAX_SIDE else max(1, MIN_SIDE // longest)
    return max(1, round(factor * size[0])), max(1, round(factor * size[1]))


def _frame(image: Image.Image, size: tuple[int, int], maximum: float | None) -> Image.Image:
    """Return an image in the size of its tile, above the legend of its colors."""
    image = image.convert("RGB")
    is_larger = image.width > size[0]
    scaled = image.resize(size, Image.Resampling.BOX if is_larger else Image.Resampling.NEAREST)
    tile = Image.new("RGB", (size[0], size[1] + LEGEND_HEIGHT), "white")
    tile.paste(scaled)
    if maximum is not None:
        tile.paste(draw_legend(size[0], maximum, "levels"), (0, size[1]))
    return tile
