"""Levels of 8 and 16 bits: whole numbers from 0 to the white of their type, and the float 0…1 that they stand for."""

import torch
from torch import Tensor

WHITE = {torch.uint8: 255, torch.uint16: 65535}  # the depths of images for training and evaluation


def count_bits(dtype: torch.dtype) -> int:
    """Return 8 or 16."""
    return 8 * dtype.itemsize


def to_unit(levels: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Convert levels to `dtype` in 0…1; floats hold 8-bit levels, rounded or not."""
    white = WHITE.get(levels.dtype, 255)
    return levels / white if levels.dtype == dtype else levels.to(dtype).div_(white)  # in place: one pass less


def round_to_levels(image: Tensor, dtype: torch.dtype = torch.uint8) -> Tensor:
    """Round float in 0…1 half up to levels of `dtype`, clipped."""
    white = WHITE[dtype]
    return (image * white + 0.5).clamp_(0, white + 0.5).to(dtype)
