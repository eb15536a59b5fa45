"""Apply a net to images under each `color`: the one function for validation, evaluation and prediction."""

from collections.abc import Iterator

from torch import Tensor, nn

from sr.inference.strip import StripUpscaler
from sr.inference.tile import Part, divide_image, join_parts


def upscale(net: nn.Module, lr: Tensor, color: str, ensemble: bool = False, tile: int | None = None) -> Tensor:
    """Upscale `lr` `[B, C, h, w]` in 0…1: -> `[B, C, s·h, s·w]`, not clamped.

    With `color="y"` the net upscales BT.601 luma only, and chroma is upscaled bicubically; one channel is luma already.
    `ensemble` is `apply_self_ensemble`, `tile` that of `choose_tile`.
    """
    parts = iterate_parts(net, lr, color, ensemble, tile)
    return join_parts(parts, (net.scale * lr.shape[-2], net.scale * lr.shape[-1]))


def iterate_parts(
    net: nn.Module, lr: Tensor, color: str, ensemble: bool = False, tile: int | None = None
) -> Iterator[Part]:
    """Yield the result of `upscale` in parts: one for each tile, or one in all if the image is upscaled whole.

    `lr` may be uint8 as well; in tiles only a strip of them is converted to float at a time. Nothing is divided further if
    memory is short: a number that was measured must not depend on that.
    """
    size = tuple(lr.shape[-2:])
    upscaler = StripUpscaler(net, color, ensemble, divide_image(net, size, tile), is_divisible=False)
    for strip in upscaler.plan_strips(size):
        yield from upscaler.iterate_parts(lr[..., strip.rows.start : strip.rows.stop, :], strip, size)
