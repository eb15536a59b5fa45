"""The batches: `Raw` from the disk to the device, `Pair` from there to the network, `MetricInput` to the metrics."""

from typing import NamedTuple

import torch
from torch import Tensor


class Raw(NamedTuple):
    """One batch as the data loader returns it: in the depth of the files, uint8 or uint16, not yet degraded."""

    hr: Tensor  # [B, C, H, W]
    lr: Tensor | None = None  # [B, C, h, w], in the same depth; None: made from `hr` on the device
    gray: bool = False  # True if the file of a whole image has one channel, which is repeated here
    seed: int | None = None  # of the random degradation of a training batch, 0…2⁶³-1; None: images for evaluation
    valid: Tensor | None = None  # False where HR of a whole image has no data, bool [B, 1, H, W]; None: data everywhere


class Pair(NamedTuple):
    """One batch for a network: float in 0…1, `hr` exactly `scale` times as large as `lr`.

    For evaluation, float32 holds 8-bit levels, and float64 what is not rounded to 8 bits: images of 16 bits, and the LR of
    `metric=vdsr`.
    """

    lr: Tensor  # [B, C, h, w]
    hr: Tensor  # [B, C, s·h, s·w]; nan where an image for evaluation has no data


class EvaluationOutput(NamedTuple):
    """A batch of results of a net, as it is measured and shown; float 0…1."""

    lr: Tensor  # [B, C, h, w]
    sr: Tensor  # [B, C, s·h, s·w]
    hr: Tensor  # [B, C, s·h, s·w]


class MetricInput(NamedTuple):
    """The input of a metric: a batch of results, with their references and LR images."""

    # The result as the protocol measures it: levels 0…255, of 16 bits in steps of 1/257, border cropped, float64.
    x: Tensor  # [B, 1 or C, H-2b, W-2b]
    y: Tensor  # the reference (HR), likewise
    sr: Tensor  # the result rounded to the protocol's depth, in 0…1, not cropped [B, C, H, W]
    hr: Tensor  # the reference, likewise
    lr: Tensor  # the net's input in 0…1 [B, C, h, w]; float64: not rounded to 8 bits
    valid: Tensor | None = None  # False where there is no data, bool [B, 1, H-2b, W-2b]; None: there is data everywhere


def stack_images(items: list[Raw]) -> Raw:
    """Stack images of one size to a batch, `[B, C, H, W]`."""
    lr, valid = (
        torch.stack([getattr(item, layer) for item in items]) if getattr(items[0], layer) is not None else None
        for layer in ("lr", "valid")
    )
    return Raw(torch.stack([item.hr for item in items]), lr, gray=all(item.gray for item in items), valid=valid)
