"""Execution of the net on the device: memory format (`trainer.channels_last`) and torch.compile (`trainer.compile`)."""

import contextlib

import torch
from torch import nn
from torch._functorch import config as functorch_config

from sr.image.batch import Pair
from sr.inference.layout import convert_weights
from sr.trainer.default import Trainer


def prepare_net(net: nn.Module, channels_last: bool, compile: bool | str) -> None:
    """Change the net's memory format and compile it, in place, as the trainer's options of these names say.

    In place, because a net wrapped by torch.compile would write other parameter names into checkpoints. Call it before
    DDP registers the weights: DDP mixes up the gradients of weights whose memory format changes later.
    """
    if channels_last:
        convert_weights(net, torch.channels_last)
    if compile:
        # The gradient of each loss term needs the graph of one forward pass, which may not reuse its buffers then.
        functorch_config.donated_buffer = False
        backend = {} if compile is True else {"backend": compile}
        net.compile(**backend)


def convert_batch(pair: Pair, channels_last: bool) -> Pair:
    """Return the batch in the memory format of the net."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return Pair(*(image.contiguous(memory_format=layout) for image in pair))


def disable_compile(trainer: Trainer) -> contextlib.AbstractContextManager:
    """Run a compiled net eagerly: images to evaluate have many sizes, and each would be compiled for."""
    return torch.compiler.set_stance("force_eager") if trainer.compile else contextlib.nullcontext()
