"""Read scalars from the devices that they are on."""

import math
from collections.abc import Sequence
from typing import Any

import torch

Reading = float | Exception  # a number, or why it cannot be read


def read_cpu_tensor(value: Any) -> Any:
    """Return the number in a tensor on the CPU, and anything else as it is."""
    return value.item() if isinstance(value, torch.Tensor) and value.device.type == "cpu" else value


def read_numbers(values: Sequence[Any]) -> list[Reading]:
    """Return scalars and tensors of one element as numbers, in their order; those of one device are read together."""
    numbers: list[Reading] = [math.nan if isinstance(value, torch.Tensor) else _read_number(value) for value in values]
    indices_by_device: dict[torch.device, list[int]] = {}
    for k, value in enumerate(values):
        if isinstance(value, torch.Tensor):
            indices_by_device.setdefault(value.device, []).append(k)
    for indices in indices_by_device.values():
        for k, number in zip(indices, _read_tensors([values[k] for k in indices]), strict=True):
            numbers[k] = number
    return numbers


def _read_tensors(tensors: list[torch.Tensor]) -> list[Reading]:
    """Read tensors of one device with one wait for it; each alone if that fails, so that none depends on the others."""
    try:
        return torch.stack([tensor.detach().double().reshape(()) for tensor in tensors]).tolist()
    except Exception:  # whatever the device raises
        return [_read_number(tensor) for tensor in tensors]


def _read_number(value: Any) -> Reading:
    try:
        return float(value)
    except Exception as error:
        return error
