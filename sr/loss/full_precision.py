"""What a loss counts with: float32 at least, whatever mixed precision made of the net's result."""

import torch
from torch import Tensor


def full(sr: Tensor, hr: Tensor) -> tuple[Tensor, Tensor]:
    """Both as float32, or as float64 where `hr` is."""
    exact = torch.promote_types(hr.dtype, torch.float32)
    return sr.to(exact), hr.to(exact)
