"""The training step in progress: the batches that it has taken, their losses, and why it is skipped, if it is."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from sr.image.batch import Pair


class BadStep(NamedTuple):
    """The reason why a step was skipped."""

    norm: float  # of the gradient
    loss: float | None  # of the net; None: it was the discriminator's update
    batch: Pair  # its training batch; under gradient accumulation the one with the largest loss


class Step:
    """Collects the batches of one training step: several under gradient accumulation, or with several updates of D.

    Also holds a copy of all buffers from before the step: a bad batch corrupts the statistics of a batch norm in its
    forward pass already, before its loss is known.
    """

    def __init__(self) -> None:
        self.bad: BadStep | None = None
        self._batches: list[tuple[Pair, Tensor | None]] = []  # with the loss of the net, if it learns from this batch
        self._buffers: list[Tensor] = []
        self._buffer_copies: list[Tensor] = []

    @property
    def is_empty(self) -> bool:
        """True until the first batch is added."""
        return not self._batches

    @property
    def losses(self) -> Tensor:
        """The detached losses `[batches]` of those batches that the net learns from."""
        return torch.stack([loss for _, loss in self._batches if loss is not None])

    def watch_buffers(self, module: nn.Module) -> None:
        """Collect the module's buffers once: walking through all modules at each step would take time."""
        self._buffers = list(module.buffers())

    def add_batch(self, pair: Pair) -> None:
        """Add a batch before its forward pass; at the first one of a step, copy the buffers."""
        if self.is_empty:
            self._buffer_copies = [buffer.clone() for buffer in self._buffers]
        self._batches.append((pair, None))

    def set_loss(self, loss: Tensor) -> None:
        """Set the loss of the batch that was added last."""
        self._batches[-1] = (self._batches[-1][0], loss.detach())

    @property
    def last_batch(self) -> Pair:
        """The batch that was added last."""
        return self._batches[-1][0]

    def find_worst_batch(self) -> Pair:
        """Return the batch with the largest loss."""
        batches = [pair for pair, loss in self._batches if loss is not None]
        return batches[int(self.losses.argmax())]

    def finish(self) -> BadStep | None:
        """Empty the step; after a bad one, restore the buffers and return the reason."""
        bad, self.bad = self.bad, None
        self._batches.clear()
        if bad is not None:
            for buffer, copy in zip(self._buffers, self._buffer_copies, strict=True):
                buffer.copy_(copy)
        return bad
