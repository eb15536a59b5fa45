"""Measure the memory that a net needs, and choose the tiles that fit into what there is."""

import weakref
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from sr.inference.strip import MIN_TILE, Tiling
from sr.inference.tile import DEFAULT_MARGIN, MAX_MARGIN
from sr.inference.upscale import LARGE_IMAGE_TILE, MAX_UNTILED_PIXELS
from sr.runtime.error import UserError
from sr.runtime.terminal import format_bytes

MAX_EXACT_MARGIN = 160  # LR pixels; nets that see further (RRDB: 349) get MAX_MARGIN, since tiles would be all margin
PROBE_SIDE = 40  # LR pixels
RESERVE = 2.2  # measured: 1.1 (ESPCN) to 2.2 (IMDN); libraries copy activations into layouts of their own
SIDES = (768, 512, 384, 256, 192, 128, 96, 64, 48, 32, MIN_TILE)  # LR pixels, of tiles that are chosen
LARGE_MARGIN = 64  # LR pixels, from which on larger tiles are worth their memory

_measured: "weakref.WeakKeyDictionary[nn.Module, float]" = weakref.WeakKeyDictionary()


class Needs(NamedTuple):
    """The bytes that an image needs in main memory in addition to the net."""

    whole: int  # of what is held of the whole image: a decoder's frame, an encoder's
    row: int  # for each row of a strip: pixels of the source and of the result


def choose_margin(net: nn.Module, overlap: int | None) -> tuple[int, int]:
    """Return the margin of tiles and the width of blending, in LR pixels.

    A net with a finite receptive field needs half of it, and no blending; tiles then equal the whole image. `overlap`
    replaces the margin.
    """
    field = getattr(net, "receptive_field", None)
    if field is None or getattr(net, "depends_on_size", False):
        margin = DEFAULT_MARGIN if overlap is None else overlap
        return margin, margin // 2
    reach = field // 2
    return (reach if reach <= MAX_EXACT_MARGIN else MAX_MARGIN) if overlap is None else overlap, 0


def choose_tiling(
    net: nn.Module, size: tuple[int, int], tile: int | None, overlap: int | None, budget: int, needs: Needs, name: str
) -> Tiling:
    """Return how an image of `size` (h, w) is divided, so that about `budget` bytes of main memory suffice.

    `tile` is the option: null takes the whole image up to 2²⁰ LR pixels and tiles of 512 above that, or smaller ones if
    memory is short. Raises `UserError`, which begins with `name`, if the image cannot be processed within the budget.
    """
    margin, blend = choose_margin(net, overlap)
    h, w = size
    if tile is not None:
        return Tiling(min(tile, h), min(tile, w), margin, min(blend, tile // 2))
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
        return Tiling(h, w, margin, blend)
    first = 0 if margin > LARGE_MARGIN and not blend else SIDES.index(LARGE_IMAGE_TILE)
    for side in SIDES[first:]:
        for height in (side, side // 2, side // 4):
            if height >= min(MIN_TILE, side) and fits(height, side):
                return Tiling(min(height, h), min(side, w), margin, min(blend, height // 2))
    raise UserError(describe_shortage(name, budget, needs))


def describe_shortage(name: str, budget: int, needs: Needs) -> str:
    """Return the error for an image that does not fit."""
    if needs.whole > budget // 2:
        return (
            f"{name}: does not fit in memory: {format_bytes(needs.whole)} for the image as a whole, and "
            f"{format_bytes(max(budget, 0))} are free for it; write format=png or tiff, which need no whole image, read a TIFF "
            "or PNG, or allow more by memory="
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


class TensorMeter(TorchDispatchMode):
    """Counts the bytes of the tensors that are created inside the context and still exist; `peak` is the most."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = self._bytes = 0
        self._seen: set[int] = set()  # addresses of the storages that are counted

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
