"""The form in which a net is fastest: one for prediction, evaluation and validation."""

import torch
from torch import Tensor, nn


def prepare_net(net: nn.Module, device: torch.device) -> nn.Module:
    """Move a net to `device` for inference, in place; on the CPU in `channels_last`, in which convolutions are faster.

    All nets are as fast or up to a quarter faster (docs/speed.md); float32 rounds differently.
    """
    return net.to(device, memory_format=_choose_layout(device)).eval()


def merge_layers(net: nn.Module, device: torch.device) -> nn.Module:
    """Return an equal net with fewer layers, prepared as well, if it has a method for that; otherwise the net itself.

    SPAN merges its branches in each forward pass otherwise: 3 to 6 % of the time of an image of 128×128.
    """
    return prepare_net(net.deploy(), device) if hasattr(net, "deploy") else net


def convert_input(lr: Tensor) -> Tensor:
    """Return the input `[B, C, h, w]` in the layout of `prepare_net`: a net whose weights are in another one follows it."""
    return lr.contiguous(memory_format=_choose_layout(lr.device))


def _choose_layout(device: torch.device) -> torch.memory_format:
    return torch.channels_last if device.type == "cpu" else torch.contiguous_format
