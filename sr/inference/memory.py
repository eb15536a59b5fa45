"""Recognize and report that an image does not fit in memory."""

import contextlib
from collections.abc import Iterator

import torch

from sr.runtime.error import UserError

FEWER_METRICS = "evaluate fewer metrics: metric/also=[]"  # LPIPS and DISTS run VGG on whole images


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return True for a device's `torch.OutOfMemoryError`, and for the message of the CPU allocator."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


@contextlib.contextmanager
def report_out_of_memory(image: str, advice: str = "say tile=256, or less") -> Iterator[None]:
    """Turn an out-of-memory error in the block into a `UserError` that names the image and says what to do."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(f"{image} does not fit in memory; {advice}") from None
