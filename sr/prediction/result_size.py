"""The size of results: `outscale=2.5`, `size=1920x1080`, or the network's scale."""

import re
from typing import NamedTuple

from sr.image.file_format import Header
from sr.runtime.error import UserError

TOLERANCE = 1.0  # pixels by which `size` may differ from the aspect ratio of an image


class ResultSize(NamedTuple):
    """The options `outscale` and `size`; without both, results have the network's scale."""

    outscale: float | None = None
    width: int | None = None
    height: int | None = None

    @property
    def option(self) -> str:
        """The option as it is typed."""
        return f"outscale={self.outscale:g}" if self.outscale else f"size={self._format_size()}"

    @property
    def is_given(self) -> bool:
        """True if one of the options is given."""
        return any(self)

    def compute_size(self, source: Header) -> tuple[int, int]:
        """Return height and width of the result of an image; raise a `UserError` if its aspect ratio is another one."""
        h, w = source.height, source.width
        if self.outscale:
            factors = [self.outscale if grows else 1 for grows in source.grows]
            return max(1, round(factors[0] * h)), max(1, round(factors[1] * w))
        if not all(source.grows):
            raise UserError(
                f"{self.option}: expected no size with axis=, along which alone is upscaled; type outscale="
            )
        by_width, by_height = h * (self.width or 0) / w, w * (self.height or 0) / h
        if not (self.width and self.height):
            return (self.height or max(1, round(by_width))), (self.width or max(1, round(by_height)))
        if abs(by_width - self.height) > TOLERANCE and abs(by_height - self.width) > TOLERANCE:
            raise UserError(
                f"{self.option}: expected the aspect ratio of the image (found {w}×{h}); "
                f"size={self.width}x makes it {self.width}×{by_width:.0f}, size=x{self.height} {by_height:.0f}×{self.height}"
            )
        return self.height, self.width

    def compute_factor(self, source: Header) -> float:
        """Return how many times larger the result of an image is: the scale that the network has to have at least."""
        height, width = self.compute_size(source)
        return self.outscale or min(height / source.height, width / source.width)

    def fit_network(self, source: Header, scale: int) -> tuple[int, int] | None:
        """Return the size of the result of a network of this scale; None if it is the network's own.

        The network is applied once and its result reduced to this size. Raises a `UserError` if it would have to be upscaled.
        """
        own = scale * source.height, scale * source.width
        if not self.is_given:
            return None if all(source.grows) else ResultSize(scale).compute_size(source)
        factor = self.compute_factor(source)
        if factor > scale:
            raise UserError(
                f"{self.option}: expected at most the scale of the network, {scale} (found a factor of {factor:.4g}, of an "
                f"image of {source.width}×{source.height}); choose a network of a larger scale, or upscale the result again"
            )
        size = self.compute_size(source)
        return None if size == own else size

    def format_suffix(self, scale: int) -> str:
        """Return what is appended to the name of a result: `_x2`, `_x2.5`, `_1920x1080`."""
        if self.width or self.height:
            return f"_{self._format_size()}"
        return f"_x{self.outscale or scale:g}"

    def describe(self, scale: int) -> str:
        """Return what results are upscaled to: `×2`, `×2.5`, `to 1920x1080`."""
        return f"to {self._format_size()}" if self.width or self.height else f"×{self.outscale or scale:g}"

    def _format_size(self) -> str:
        return f"{self.width or ''}x{self.height or ''}"


def parse_size(outscale: float | None, size: str | None) -> ResultSize:
    """Read the options `outscale` and `size`; raise a `UserError` if they are wrong, or both are given."""
    if outscale is not None and size is not None:
        raise UserError(f"outscale={outscale:g} size={size}: expected one of them (found both); leave one out")
    if outscale is not None and outscale < 1:
        raise UserError(f"outscale={outscale:g}: expected a factor of 1 or more; this command makes no image smaller")
    if size is None:
        return ResultSize(outscale)
    match = re.fullmatch(r"(\d{0,6})x(\d{0,6})", str(size).lower().replace("×", "x"))
    width, height = (int(number or 0) or None for number in match.groups()) if match else (None, None)
    if not (width or height):
        raise UserError(
            f"size={size}: expected WIDTHxHEIGHT such as 1920x1080, or one of them such as 1920x or x1080, in pixels"
        )
    return ResultSize(None, width, height)
