"""Checks before a training, so that parts which do not fit each other are named before a run is opened."""

import contextlib
import warnings
from collections.abc import Callable, Iterator

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from sr.runtime.error import UserError

UNUSABLE = "cannot work with these values of its options"


@contextlib.contextmanager
def name_part(message: str) -> Iterator[None]:
    """Turn an error of PyTorch into a `UserError` that begins with `message`, which names the wrong part."""
    try:
        yield
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise UserError(f"{message} ({error})") from error


def check_optimizer(
    optimizer: Callable[..., Optimizer], schedule: Callable[..., LRScheduler], weights: list[nn.Parameter]
) -> Optimizer:
    """Build the optimizer and its schedule for these weights; return the optimizer."""
    with name_part(f"model.optimizer: {UNUSABLE}"):
        built = optimizer(weights)
    with name_part(f"model.schedule: {UNUSABLE}"), warnings.catch_warnings(action="ignore"):  # the training will warn
        schedule(built, total=1000)
    return built
