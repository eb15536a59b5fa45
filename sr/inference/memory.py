"""Recognize and report that an image does not fit in memory."""

import contextlib
import gc
from collections.abc import Iterator

import torch
from torch import nn

from sr.inference.tile import choose_tile
from sr.runtime.error import OutOfMemoryError

FEWER_METRICS = "evaluate fewer metrics: metric/also=[]"  # LPIPS and DISTS run VGG on whole images
SMALL_TILE, USUAL_TILE = 64, 256  # LR pixels; with smaller tiles than SMALL_TILE most of the work is their margins
CPU_MESSAGES = ("can't allocate memory", "bad_alloc")  # of PyTorch's CPU allocator and of oneDNN


def is_out_of_memory(error: BaseException) -> bool:
    """Return True for a device's `torch.OutOfMemoryError`, for the messages of the CPU allocator, and `MemoryError`."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(message in str(error) for message in CPU_MESSAGES)


@contextlib.contextmanager
def report_out_of_memory(image: str, advice: str) -> Iterator[None]:
    """Turn an out-of-memory error in the block into an `OutOfMemoryError` that names the image and says what to do."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(f"{image} does not fit in memory; {advice}") from None


def advise_tile(net: nn.Module, size: tuple[int, int], tile: int | None) -> str:
    """Return what to do if a net does not fit in memory with LR of `size` (h, w) and the option `tile`."""
    side = min(choose_tile(net, size, tile) or max(size), max(size))
    if side > SMALL_TILE:
        return f"say tile={min(USUAL_TILE, max(SMALL_TILE, side // 2))}, or less"
    return f"this net needs more than there is for {side}×{side} LR pixels already: choose a smaller net"


def release_memory() -> None:
    """Return the device's memory that PyTorch holds for later, after an out-of-memory error."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
