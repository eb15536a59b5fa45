"""Recognize and report that an image does not fit in memory."""

import contextlib
from collections.abc import Iterator

import torch

from sr.runtime.error import UserError

FEWER_METRICS = "measure less of it: metric/also=[]"  # LPIPS and DISTS look at whole pictures with VGG


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether it is that: a device's `torch.OutOfMemoryError`, or the CPU allocator's message."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


@contextlib.contextmanager
def report_out_of_memory(what: str, advice: str = "say tile=256, or less") -> Iterator[None]:
    """Around the enlarging of `what`: out of memory becomes a `UserError` that says what to do."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(f"{what} does not fit in memory; {advice}") from None
