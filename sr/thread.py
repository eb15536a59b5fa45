"""One thread for work in small pieces."""

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def alone(device: torch.device) -> Iterator[None]:
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
