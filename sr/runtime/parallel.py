"""Work on many small items: each item on one thread, and several items at once where there are many."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

CPU = torch.device("cpu")
MIN_PARALLEL_ITEMS = 8  # fewer are not worth starting threads


@contextlib.contextmanager
def use_one_thread(device: torch.device) -> Iterator[None]:
    """Run PyTorch's CPU operations inside the context on the calling thread alone.

    Otherwise each operation is split over all threads and waits for the last of them. Idle cores gain a little by that,
    but while another process uses one of two cores, every wait costs a time slice: SSIM of one image took 700 ms instead
    of 25.

    A thread that splits an operation also gets threads of OpenMP of its own, which stay. If a process has more of them
    than the machine has cores, GNU's OpenMP lets none of them wait actively, those of the network included: a training
    step in bf16 on two cores took 1.1 times as long.
    """
    old_count = torch.get_num_threads()
    if device.type != "cpu" or old_count == 1:
        yield
        return
    torch.set_num_threads(
        1
    )  # of this thread, and of each that begins to compute meanwhile; other threads have theirs already
    try:
        yield
    finally:
        torch.set_num_threads(old_count)


class BackgroundPool(ThreadPoolExecutor):
    """Threads for work next to that of a network: each call is in `use_one_thread`."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return super().submit(_call_on_one_thread, function, *args, **kwargs)


def _call_on_one_thread(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    with use_one_thread(CPU):
        return function(*args, **kwargs)


def map_parallel(
    function: Callable[[Sequence[Any]], list[Tensor]], items: Sequence[Any], device: torch.device
) -> list[Tensor]:
    """Apply `function`, which takes a slice of the items, to all items; return the results in the items' order.

    On a CPU each of PyTorch's threads works alone on one contiguous slice.
    """
    threads = torch.get_num_threads() if device.type == "cpu" and len(items) >= MIN_PARALLEL_ITEMS else 1
    slice_size = -(-len(items) // threads)

    def process_slice(start: int) -> list[Tensor]:
        with use_one_thread(device), torch.no_grad():  # a new thread does not inherit the caller's grad mode
            return function(items[start : start + slice_size])

    starts = range(0, len(items), slice_size)
    if threads == 1:
        return [result for start in starts for result in process_slice(start)]
    with ThreadPoolExecutor(threads) as pool:
        return [result for results in pool.map(process_slice, starts) for result in results]
