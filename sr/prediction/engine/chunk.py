"""Chunks: which images a process upscales together, and which ones once more when a process has been lost."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

from sr.prediction.jobs import Job
from sr.prediction.opened_job import BATCH_PIXELS

S, T = TypeVar("S"), TypeVar("T")


def plan_chunks(jobs: Sequence[Job]) -> list[range]:
    """Return the numbers of the jobs of each chunk: small images of one kind that follow one another, or one image.

    It depends on the jobs alone, so that all engines compute the same bits: PyTorch rounds a batch otherwise than its images.
    """
    chunks: list[range] = []
    kinds = [job.header._replace(format="", has_alpha=False) for job in jobs]
    for number, kind in enumerate(kinds):
        first = chunks[-1].start if chunks else 0
        if chunks and kinds[first] == kind and kind.height * kind.width * (number + 1 - first) <= BATCH_PIXELS:
            chunks[-1] = range(first, number + 1)
        else:
            chunks.append(range(number, number + 1))
    return chunks


class ChunkQueue(Generic[S, T]):
    """Hands out chunks, and once more the items of a lost process: each alone, as one of them may be the cause.

    `prepare` makes the items of a chunk when it is handed out; each has a `number`.
    """

    def __init__(self, chunks: Iterable[S], prepare: Callable[[S], list[T]]) -> None:
        self._chunks, self._prepare = deque(chunks), prepare
        self._again: deque[T] = deque()
        self._lost: set[int] = set()  # numbers of what was lost once

    @property
    def has_lost(self) -> bool:
        """True if a process was lost."""
        return bool(self._lost)

    def __len__(self) -> int:
        return len(self._chunks) + len(self._again)

    def take(self) -> list[T]:
        """Return the next items; an empty list if there are none."""
        if self._again:
            return [self._again.popleft()]
        return self._prepare(self._chunks.popleft()) if self._chunks else []

    def put_back(self, items: Sequence[T]) -> list[T]:
        """Queue the items of a process that was lost, and return those that were lost the second time."""
        twice = [item for item in items if item.number in self._lost]
        self._again.extend(item for item in items if item.number not in self._lost)
        self._lost.update(item.number for item in items)
        return twice
