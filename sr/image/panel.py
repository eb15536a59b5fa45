"""Tiles with captions, laid out in one image."""

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from sr.image.write import to_pil, to_uint8

GAP, CAPTION = 4, 20  # screen pixels


def repeat_pixels(image: Tensor, zoom: int) -> Image.Image:
    pixels = to_uint8(image[0])
    return to_pil(pixels.repeat_interleave(zoom, dim=-2).repeat_interleave(zoom, dim=-1)).convert("RGB")


def draw_tiles(tiles: dict[str, Image.Image], columns: int) -> Image.Image:
    """Tiles of one size in rows of `columns`, each with its caption beneath."""
    (width, height), rows = next(iter(tiles.values())).size, -(-len(tiles) // columns)
    page = Image.new("RGB", (columns * (width + GAP) - GAP, rows * (height + CAPTION)), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(13)
    for k, (caption, tile) in enumerate(tiles.items()):
        left, top = k % columns * (width + GAP), k // columns * (height + CAPTION)
        page.paste(tile, (left, top))
        draw.text((left + width // 2, top + height + 3), caption, fill="black", font=font, anchor="ma")
    return page
