"""Schedule-free optimizers (`model/optimizer=schedule_free`) and their two sets of weights.

Such an optimizer trains with one set and averages another, which is the one to evaluate and save. Its `train()` and
`eval()` convert the net's weights from one set to the other; converting there and back is exact but for the last bits.
"""

import sr.runtime.torchvision_shim  # noqa: F401  before Lightning and torchmetrics

import contextlib
from collections.abc import Iterator

import torch
from pytorch_lightning import Trainer
from torch import Tensor
from torch.optim import Optimizer

from sr.model.gradient import list_parameters


def is_schedule_free(optimizer: Optimizer) -> bool:
    """Return True for an optimizer that has a set of weights for training and one for evaluation."""
    return hasattr(optimizer, "train")


class ScheduleFreeWeights:
    """Switches between the training and the evaluation weights of the trainer's schedule-free optimizers, if any."""

    def __init__(self) -> None:
        self.training_weights: list[list[Tensor]] = []  # of each optimizer; only while a checkpoint is written or read

    def switch(self, trainer: Trainer, training: bool) -> None:
        """Convert to the weights for training, or to those for evaluation."""
        for optimizer in _list_schedule_free(trainer):
            optimizer.train() if training else optimizer.eval()

    def start_training(self, trainer: Trainer) -> None:
        """Convert to the weights for training; after a checkpoint was loaded, set them to its exact values."""
        self.switch(trainer, training=True)
        _set_weights(_list_schedule_free(trainer), self.training_weights)
        self.training_weights = []

    @contextlib.contextmanager
    def use_eval_weights(self, trainer: Trainer) -> Iterator[None]:
        """Use the weights for evaluation; restore those for training afterwards, to the last bit: whether a checkpoint
        is written between two steps must not change the result."""
        optimizers = [o for o in _list_schedule_free(trainer) if o.param_groups[0]["train_mode"]]
        self.training_weights = [[w.detach().clone() for w in list_parameters(optimizer)] for optimizer in optimizers]
        self.switch(trainer, training=False)
        try:
            yield
        finally:
            if optimizers:
                self.switch(trainer, training=True)
                _set_weights(optimizers, self.training_weights)
            self.training_weights = []


def _list_schedule_free(trainer: Trainer) -> list[Optimizer]:
    return [optimizer for optimizer in trainer.optimizers if is_schedule_free(optimizer)]


@torch.no_grad()
def _set_weights(optimizers: list[Optimizer], weights: list[list[Tensor]]) -> None:
    """Set the parameters of each optimizer to these values; `weights` is empty when nothing was saved."""
    for optimizer, values in zip(optimizers, weights, strict=False):
        for parameter, value in zip(list_parameters(optimizer), values, strict=True):
            parameter.copy_(value)
