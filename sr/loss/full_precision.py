"""Losses are computed in float32 at least, even if mixed precision made the net's output float16 or bfloat16."""

import torch
from torch import Tensor


def to_full_precision(sr: Tensor, hr: Tensor) -> tuple[Tensor, Tensor]:
    """Return both images as float32, or as float64 if `hr` is."""
    dtype = torch.promote_types(hr.dtype, torch.float32)
    return sr.to(dtype), hr.to(dtype)
