"""Panels: several images with captions, arranged in one image."""

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from sr.image.write import to_pil, to_uint8

GAP, CAPTION_HEIGHT, FONT_SIZE = 4, 20, 12  # screen pixels


def repeat_pixels(image: Tensor, zoom: int) -> Image.Image:
    """Return the first image of a batch `[B, C, H, W]`, with each pixel repeated to `zoom`×`zoom`, as RGB."""
    pixels = to_uint8(image[0])
    return to_pil(pixels.repeat_interleave(zoom, dim=-2).repeat_interleave(zoom, dim=-1)).convert("RGB")


def draw_tiles(tiles: dict[str, Image.Image], columns: int, title: str = "") -> Image.Image:
    """Arrange images of one size in rows of `columns`, each with its key as a caption below it, below a title.

    A text that is too wide is shortened in its middle.
    """
    (width, height), rows = next(iter(tiles.values())).size, -(-len(tiles) // columns)
    above = CAPTION_HEIGHT if title else 0
    page_size = (columns * (width + GAP) - GAP, above + rows * (height + CAPTION_HEIGHT))
    page = Image.new("RGB", page_size, "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(FONT_SIZE)
    draw.text((page.width // 2, 3), _shorten(title, page.width, font), fill="black", font=font, anchor="ma")
    for k, (caption, tile) in enumerate(tiles.items()):
        left, top = k % columns * (width + GAP), above + k // columns * (height + CAPTION_HEIGHT)
        page.paste(tile, (left, top))
        text = _shorten(caption, width, font)
        draw.text((left + width // 2, top + height + 3), text, fill="black", font=font, anchor="ma")
    return page


def _shorten(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Return the text, without its middle if it is wider than `width` screen pixels."""
    length = len(text)
    while font.getlength(text) > width and length > 2:
        length -= 1
        text = f"{text[: length // 2]}…{text[length // 2 - length + 1 :]}"
    return text
