"""A data loader without processes of its own that is one batch ahead."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from torch.utils.data import DataLoader

_END = object()


class Prefetcher(DataLoader):
    """Cuts the next batch on a thread while the net works on this one: NumPy and PyTorch let go of Python meanwhile."""

    def __iter__(self) -> Iterator[Any]:
        batches = super().__iter__()
        with ThreadPoolExecutor(1, "batches") as pool:
            following = pool.submit(next, batches, _END)
            while (batch := following.result()) is not _END:
                following = pool.submit(next, batches, _END)
                yield batch
