"""The memory format and the layers with which a net is fastest, the same for prediction and evaluation."""

import torch
from torch import Tensor, nn


def prepare_net(net: nn.Module, device: torch.device) -> nn.Module:
    """Move a net to `device` for inference, in place; on the CPU in `channels_last`, in which convolutions are faster.

    All nets are as fast or up to a quarter faster (docs/speed.md); float32 rounds differently.
    """
    convert_weights(net.to(device), _choose_memory_format(device))
    return net.eval()


def convert_weights(net: nn.Module, memory_format: torch.memory_format) -> None:
    """Change the memory format of all weights of four dimensions, in place.

    `Module.to` refuses `channels_last` if there is a weight of five, as of `nn.Conv3d`.
    """
    for weight in (*net.parameters(), *net.buffers()):
        if weight.dim() == 4:
            weight.data = weight.data.contiguous(memory_format=memory_format)


def merge_layers(net: nn.Module, device: torch.device) -> nn.Module:
    """Return an equal net with fewer layers, prepared as well, if it has a method for that; otherwise the net itself.

    SPAN merges its branches in each forward pass otherwise: 3 to 6 % of the time of an image of 128×128.
    """
    return prepare_net(net.deploy(), device) if hasattr(net, "deploy") else net


def convert_input(lr: Tensor) -> Tensor:
    """Return the input `[B, C, h, w]` in the memory format of `prepare_net`; a net with weights in another one adopts it."""
    return lr.contiguous(memory_format=_choose_memory_format(lr.device))


def _choose_memory_format(device: torch.device) -> torch.memory_format:
    return torch.channels_last if device.type == "cpu" else torch.contiguous_format
