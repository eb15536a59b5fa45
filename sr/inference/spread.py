"""The spread of results for one input: of a net over flips and rotations, or of several nets.

Where results of equally good evidence differ, the input does not say what is there. The reverse is not true: nets that
have learned the same from the same images may agree on what is wrong.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from sr.inference.ensemble import TRANSFORMS, iterate_transformed
from sr.inference.strip import BICUBIC_REACH
from sr.inference.upscale import upscale


def describe_source(count: int, ensemble: bool) -> str:
    """Return which results of `count` nets the spread is of."""
    each = ", each with self-ensemble" if ensemble else ""
    return f"{TRANSFORMS} flips and rotations" if count == 1 else f"{count} networks{each}"


@torch.no_grad()
def measure_spread(
    nets: Sequence[nn.Module],
    lr: Tensor,
    color: str,
    ensemble: bool = False,
    tile: int | None = None,
    select: Callable[[Tensor], Tensor] = lambda sr: sr,
) -> tuple[Tensor, Tensor]:
    """Return the result of the first net, as `upscale` gives it, and the spread of all results of `lr`.

    Args:
        nets: one, whose results of the eight flips and rotations are compared, or several of the same scale and color.
        lr: float in 0…1 `[B, C, h, w]`.
        color, ensemble, tile: as those of `upscale`.
        select: makes of a result, clamped to 0…1, what is compared: `[B, C, H, W]` -> `[B, C', H, W]`.

    Returns:
        The result `[B, C, s·h, s·w]`, and the standard deviation of a pixel over the results, the root of the mean square
        over channels, `[B, 1, s·h, s·w]`, in the unit of `select`.
    """
    joined = upscale(SpreadNet(nets, color, ensemble, select), lr, "rgb", tile=tile)
    return joined[:, :-1], joined[:, -1:]


class SpreadNet(nn.Module):
    """Gives the result and, as a further channel, the spread; so that large images are divided as those of any net."""

    def __init__(
        self, nets: Sequence[nn.Module], color: str, ensemble: bool, select: Callable[[Tensor], Tensor]
    ) -> None:
        super().__init__()
        self.nets, self.color, self.ensemble, self.select = nn.ModuleList(nets), color, ensemble, select
        self.scale = nets[0].scale
        fields = [getattr(net, "receptive_field", None) for net in nets]
        self.receptive_field = (
            None if None in fields else max(*fields, 2 * BICUBIC_REACH + 1)
        )  # of chroma, if color is y
        self.depends_on_size = any(getattr(net, "depends_on_size", False) for net in nets)

    def forward(self, lr: Tensor) -> Tensor:
        """`[B, C, h, w]` -> `[B, C + 1, s·h, s·w]`."""
        results = _iterate_results(self.nets, lr, self.color, self.ensemble)
        return _join_result_and_spread(results, len(self.nets) == 1 and self.ensemble, self.select)


def _iterate_results(nets: nn.ModuleList, lr: Tensor, color: str, ensemble: bool) -> Iterator[Tensor]:
    whole = max(lr.shape[-2:])  # a part is upscaled as it is
    if len(nets) == 1:
        yield from iterate_transformed(lambda x: upscale(nets[0], x, color, tile=whole), lr)
        return
    for net in nets:
        yield upscale(net, lr, color, ensemble, whole)


def _join_result_and_spread(results: Iterator[Tensor], is_mean: bool, select: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the first result, or the mean of all, with the spread as a further channel, `[B, C + 1, H, W]`.

    Welford's recurrence: no more than a few results are in memory, and the difference of large sums is not taken.
    """
    result = mean = squares = None
    count = 0
    for sr in results:
        count += 1
        result = sr.clone() if result is None else result.add_(sr) if is_mean else result
        values = select(sr.clamp(0, 1)).float()
        if mean is None:
            mean, squares = values.clone(), torch.zeros_like(values)
            continue
        difference = values - mean
        mean += difference / count
        squares += difference * (values - mean)
    spread = (squares.mean(dim=1, keepdim=True) / (count - 1)).sqrt()
    return torch.cat([result.div_(count) if is_mean else result, spread.to(result.dtype)], dim=1)
