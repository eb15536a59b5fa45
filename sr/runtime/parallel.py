"""Work in small pieces: each on one thread, and several side by side where there are many."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

FEW = 8  # pieces that are not worth starting threads for


@contextlib.contextmanager
def use_one_thread(device: torch.device) -> Iterator[None]:
    """On a CPU, PyTorch's operations inside run on the calling thread alone.

    Each of them would be shared out and waited for otherwise: idle cores gain a little by that, but while another
    process has one of two cores, every wait is a time slice, and SSIM of one picture took 700 ms instead of 25.
    """
    before = torch.get_num_threads()
    if device.type != "cpu" or before == 1:
        yield
        return
    torch.set_num_threads(1)  # of this thread, in effect: OpenMP and MKL keep it for each
    try:
        yield
    finally:
        torch.set_num_threads(before)


def map_parallel(
    work: Callable[[Sequence[Any]], list[Tensor]], pieces: Sequence[Any], device: torch.device
) -> list[Tensor]:
    """What `work` makes of the pieces, in their order. On a CPU each of PyTorch's threads gets a run of them, alone."""
    threads = torch.get_num_threads() if device.type == "cpu" and len(pieces) >= FEW else 1
    share = -(-len(pieces) // threads)

    def one(start: int) -> list[Tensor]:
        with use_one_thread(device), torch.no_grad():  # a new thread knows nothing of the caller's mode
            return work(pieces[start : start + share])

    starts = range(0, len(pieces), share)
    if threads == 1:
        return [result for start in starts for result in one(start)]
    with ThreadPoolExecutor(threads) as pool:
        return [result for results in pool.map(one, starts) for result in results]
