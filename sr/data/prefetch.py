"""A data loader without worker processes that prepares one batch in advance."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from torch.utils.data import DataLoader

_END = object()


class Prefetcher(DataLoader):
    """Loads the next batch on a thread while the network processes this one: NumPy and PyTorch release the GIL."""

    def __iter__(self) -> Iterator[Any]:
        batches = super().__iter__()
        with ThreadPoolExecutor(1, "batches") as pool:
            next_batch = pool.submit(next, batches, _END)
            while (batch := next_batch.result()) is not _END:
                next_batch = pool.submit(next, batches, _END)
                yield batch
