"""Measure the memory that a net needs, and choose the tiles that fit into what there is."""

import itertools
import math
import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from sr.inference.strip import MIN_TILE
from sr.inference.tile import (
    ALIGNMENT,
    LARGE_IMAGE_TILE,
    MAX_UNTILED_PIXELS,
    WIDE_MARGIN,
    WIDE_TILE,
    Tiling,
    choose_margin,
    divide_image,
)
from sr.runtime.error import MemoryLimitError
from sr.runtime.terminal import format_bytes

PROBE_SIDE = 40  # LR pixels
RESERVE = 2.2  # measured: 1.1 (ESPCN) to 2.2 (IMDN); libraries copy activations into layouts of their own
# LR pixels, of tiles that are chosen.
SIDES = (WIDE_TILE, LARGE_IMAGE_TILE, 384, 256, 192, 128, 96, 64, 48, 32, MIN_TILE)
MODERATE_BYTES = 2e9  # in main memory, of a tile; a larger one is only taken if a smaller one needs much more time
MODERATE_CLIP_BYTES = 1.2e8  # likewise, of a tile of a video's frame, whose encoder needs memory as well
MAX_WORK = 1.1  # ratio of the pixels that the net upscales, margins included
MAX_CLIP_WORK = 1.2  # likewise, of a video's frame
MAX_CLIP_PARTS = 8  # tiles along one side of a video's frame

_measured: "weakref.WeakKeyDictionary[nn.Module, float]" = weakref.WeakKeyDictionary()


class Needs(NamedTuple):
    """The bytes that an image needs in main memory in addition to the net."""

    source: int  # of the whole source, if a decoder's frame is held; otherwise 0
    result: int  # of the whole result, if an encoder holds it; otherwise 0
    row: int  # for each row of a strip: pixels of the source and of the result
    is_small: bool = False  # True: the image is held as a whole in every format
    is_clip: bool = False  # True: it has many frames, of which an encoder holds some

    @property
    def whole(self) -> int:
        """The bytes of what is held of the image as a whole."""
        return self.source + self.result


def choose_tiling(
    net: nn.Module, size: tuple[int, int], tile: int | None, overlap: int | None, budget: int, needs: Needs, name: str
) -> Tiling:
    """Return how an image of `size` (h, w) is divided, so that about `budget` bytes of main memory suffice.

    `tile` is the option: null takes the whole image up to 2²⁰ LR pixels and tiles of 512 or 768 above that, or smaller ones if
    memory is short. Raises `MemoryLimitError`, which begins with `name`, if the image cannot be processed within the budget.
    """
    if tile is not None:
        if needs.whole > budget:  # a smaller tile would not help
            raise MemoryLimitError(describe_shortage(name, budget, needs))
        return divide_image(net, size, tile, overlap)
    margin, blend = choose_margin(net, overlap)
    h, w = size
    free, channels, weight = budget - needs.whole, net.channels, next(net.parameters(), None)
    device = torch.device("cpu") if weight is None else weight.device
    per_pixel = RESERVE * measure_net_bytes(net, channels)
    device_bytes = measure_device_memory(device)

    def fits(height: int, width: int) -> bool:
        """Return True if tiles of this size do, with their margins."""
        rows, columns = min(height + 2 * margin, h), min(width + 2 * margin, w)
        tile_bytes, strip_bytes = per_pixel * rows * columns, needs.row * rows
        if device.type == "cpu":
            return tile_bytes + strip_bytes <= free
        return tile_bytes <= device_bytes and strip_bytes <= free

    if h * w <= MAX_UNTILED_PIXELS and fits(h, w):
        is_divided = needs.is_clip and not blend and device.type == "cpu"
        height, width = divide_clip_frame(margin, per_pixel, (h, w)) if is_divided else (h, w)
        return Tiling(min(height, h), min(width, w), margin, blend)
    first = 0 if margin > WIDE_MARGIN and not blend else SIDES.index(LARGE_IMAGE_TILE)
    sides = SIDES[first:] if device.type != "cpu" else skip_large_sides(SIDES[first:], margin, per_pixel)
    for side in sides:
        for height in (side, side // 2, side // 4):
            if height >= min(MIN_TILE, side) and fits(height, side):
                return Tiling(min(height, h), min(side, w), margin, min(blend, height // 2))
    raise MemoryLimitError(describe_shortage(name, budget, needs))


def divide_clip_frame(margin: int, per_pixel: float, size: tuple[int, int]) -> tuple[int, int]:
    """Return height and width of the tiles of a video's frames of `size` (h, w), which is divided evenly.

    They make the least work among those that need `MODERATE_CLIP_BYTES` at most. If all with at most `MAX_CLIP_WORK` of the
    work need more, they are the smallest of these.
    """
    tilings = []  # work, number, bytes, height and width
    for parts in itertools.product(range(1, MAX_CLIP_PARTS + 1), repeat=2):
        sides = [math.ceil(length / n / ALIGNMENT) * ALIGNMENT for length, n in zip(size, parts, strict=True)]
        counts = [math.ceil(length / side) for length, side in zip(size, sides, strict=True)]
        work = math.prod(1 + 2 * margin * (n - 1) / length for length, n in zip(size, counts, strict=True))
        pixels = math.prod(min(side + 2 * margin, length) for length, side in zip(size, sides, strict=True))
        if work <= MAX_CLIP_WORK:
            tilings.append((work, math.prod(counts), per_pixel * pixels, *sides))
    moderate = [tiling for tiling in tilings if tiling[2] <= MODERATE_CLIP_BYTES]
    *_, height, width = min(moderate) if moderate else min(tilings, key=lambda tiling: tiling[2])
    return height, width


def skip_large_sides(sides: Sequence[int], margin: int, per_pixel: float) -> Sequence[int]:
    """Return the sides from the first one on that needs `MODERATE_BYTES` at most; all, if it makes `MAX_WORK` of the work."""
    work = [(1 + 2 * margin / side) ** 2 for side in sides]  # for each LR pixel
    for k, side in enumerate(sides):
        if work[k] <= MAX_WORK * work[0] and per_pixel * work[k] * side**2 <= MODERATE_BYTES:
            return sides[k:]
    return sides


def describe_shortage(name: str, budget: int, needs: Needs) -> str:
    """Return the error for an image that does not fit."""
    if needs.whole > max(budget, 0) // 2:
        advice = []
        if needs.source and not needs.is_small:
            advice.append("save it as TIFF before, which is read in strips, ")
        if needs.result and not needs.is_small:
            advice.append("write format=png or tiff, which need no whole image, ")
        return (
            f"{name}: this image does not fit in memory: {format_bytes(needs.whole)} for it as a whole, and "
            f"{format_bytes(max(budget, 0))} are free for it; {''.join(advice)}{'or ' if advice else ''}allow more by memory="
        )
    return (
        f"{name}: this net does not fit in memory, of which {format_bytes(max(budget, 0))} are free for it; allow more by "
        "memory=, or choose a smaller net"
    )


def measure_device_memory(device: torch.device) -> int:
    """Return the bytes of a GPU that tiles may use: most of what is free."""
    if device.type != "cuda":
        return 2**62  # shared with main memory, or unknown
    free, _ = torch.cuda.mem_get_info(device)
    return int(0.8 * (free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)))


def measure_net_bytes(net: nn.Module, channels: int) -> float:
    """Return the bytes that a net's tensors occupy at once, for each LR pixel, in a small image; measured once for a net."""
    if net not in _measured:
        weight = next(net.parameters(), None)
        lr = torch.zeros(1, channels, PROBE_SIDE, PROBE_SIDE)
        lr = lr if weight is None else lr.to(weight)
        with torch.no_grad(), TensorMeter() as meter:
            net(lr)
        _measured[net] = meter.peak / (PROBE_SIDE * PROBE_SIDE)
    return _measured[net]


def assume_net_bytes(net: nn.Module, reference: nn.Module) -> None:
    """Let a net that another runtime computes, whose tensors cannot be counted, need what `reference` in PyTorch needs."""
    _measured[net] = measure_net_bytes(reference, reference.channels)


class TensorMeter(TorchDispatchMode):
    """Counts the bytes of the tensors that are created inside the context and still exist; `peak` is the most."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = self._bytes = 0
        self._seen: set[int] = set()  # addresses of the storages that are counted

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Return False, or PyTorch imports torch._dynamo, a second, to exclude `__torch_dispatch__` from compiled code."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count the storages of an operation's results."""
        result = func(*args, **(kwargs or {}))
        for tensor in tree_iter(result):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        self.peak = max(self.peak, self._bytes)
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._seen:
            self._seen.add(key)
            self._bytes += size
            weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self._bytes -= size
