"""A data loader without worker processes that prepares one batch in advance."""

from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader

from sr.runtime.parallel import BackgroundPool

_END = object()


class Prefetcher(DataLoader):
    """Loads the next batch on a thread while the network processes this one: NumPy and PyTorch release the GIL."""

    def __iter__(self) -> Iterator[Any]:
        batches = super().__iter__()
        with BackgroundPool(1, "batches") as pool:
            next_batch = pool.submit(next, batches, _END)
            while (batch := next_batch.result()) is not _END:
                next_batch = pool.submit(next, batches, _END)
                yield batch
