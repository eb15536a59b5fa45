"""Do work of the near future in another thread, a bounded number of items ahead."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

S, T = TypeVar("S"), TypeVar("T")


def iterate_ahead(items: Iterable[T], executor: Executor, count: int = 1) -> Iterator[T]:
    """Yield the items, of which the next `count` are produced meanwhile in `executor`, which has one thread.

    After an error, or if the caller stops early, no item is being produced any more.
    """
    iterator = iter(items)
    ahead: deque[Future[tuple[T, ...]]] = deque()

    def produce() -> tuple[T, ...]:
        for item in iterator:
            return (item,)
        return ()

    try:
        while True:
            while len(ahead) <= count:
                ahead.append(executor.submit(produce))
            item = ahead.popleft().result()
            if not item:
                return
            yield item[0]
            del item
    finally:
        for future in ahead:
            if not future.cancel():
                future.exception()


def map_ahead(function: Callable[[S], T], items: Iterable[S], executor: Executor, count: int) -> Iterator[T]:
    """Yield `function(item)`, which for the next `count` items is called in `executor`; the items come from this thread."""
    ahead: deque[Future[T]] = deque()
    try:
        for item in items:
            ahead.append(executor.submit(function, item))
            if len(ahead) > count:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        for future in ahead:
            if not future.cancel():
                future.exception()


class Behind:
    """Calls functions one after another in `executor`, which has one thread; at most one call is waited for."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._last: Future[Any] | None = None

    def call(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Call the function when the call before is completed, whose exception is raised here."""
        self.wait()
        self._last = self._executor.submit(function, *arguments)

    def wait(self) -> None:
        """Wait until all calls are completed; raise the exception of the last one."""
        last, self._last = self._last, None
        if last is not None:
            last.result()
