"""Panels: several images with captions, arranged in one image."""

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from sr.image.write import to_pil, to_uint8

GAP, CAPTION_HEIGHT, FONT_SIZE = 4, 20, 13  # screen pixels


def repeat_pixels(image: Tensor, zoom: int) -> Image.Image:
    """Return the first image of a batch `[B, C, H, W]`, with each pixel repeated to `zoom`×`zoom`, as RGB."""
    pixels = to_uint8(image[0])
    return to_pil(pixels.repeat_interleave(zoom, dim=-2).repeat_interleave(zoom, dim=-1)).convert("RGB")


def draw_tiles(tiles: dict[str, Image.Image], columns: int) -> Image.Image:
    """Arrange images of one size in rows of `columns`, each with its key as a caption below it."""
    (width, height), rows = next(iter(tiles.values())).size, -(-len(tiles) // columns)
    page = Image.new("RGB", (columns * (width + GAP) - GAP, rows * (height + CAPTION_HEIGHT)), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(FONT_SIZE)
    for k, (caption, tile) in enumerate(tiles.items()):
        left, top = k % columns * (width + GAP), k // columns * (height + CAPTION_HEIGHT)
        page.paste(tile, (left, top))
        draw.text((left + width // 2, top + height + 3), caption, fill="black", font=font, anchor="ma")
    return page
