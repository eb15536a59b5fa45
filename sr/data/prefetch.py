"""A data loader without worker processes that prepares batches in advance."""

from collections.abc import Iterator
from itertools import islice

from torch.utils.data import DataLoader

from sr.image.batch import Raw
from sr.runtime.parallel import BackgroundPool

MAX_CHUNK = 8  # batches
CHUNK_BYTES = 8e6


class Prefetcher(DataLoader):
    """Loads the next batches on a thread while the network processes these: NumPy and PyTorch release the GIL.

    Small batches are loaded several at once. Between two training steps, which overwrite the caches of the CPU, a single
    batch takes twice as long as the next one does.
    """

    def __iter__(self) -> Iterator[Raw]:
        batches = super().__iter__()
        with BackgroundPool(1, "batches") as pool:
            chunk = pool.submit(_load, batches, 1).result()
            while chunk:
                next_chunk = pool.submit(_load, batches, _count_batches(chunk[0]))
                yield from chunk
                chunk = next_chunk.result()


def _load(batches: Iterator[Raw], count: int) -> list[Raw]:
    """Return the next `count` batches, or those that are left."""
    return list(islice(batches, count))


def _count_batches(batch: Raw) -> int:
    """Return how many batches of this size are loaded at once."""
    size = batch.hr.nbytes + (0 if batch.lr is None else batch.lr.nbytes)
    return max(1, min(MAX_CHUNK, int(CHUNK_BYTES / size)))
