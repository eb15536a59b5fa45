"""Per-image scores of one set, as a torchmetrics metric: right under DDP and with unequal batches."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from sr.metric.protocol import Protocol


class Score(Metric):
    """Gathers each image's PSNR, SSIM and whatever else the protocol measures; the result is their mean over images,
    never a pooled error."""

    full_state_update = False

    def __init__(self, protocol: Protocol) -> None:
        super().__init__()
        self.protocol = protocol
        for name in protocol.metric_names:
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, sr: Tensor, hr: Tensor, lr: Tensor | None = None) -> None:
        """Measure a batch of float 0…1 images `[B, C, H, W]`."""
        for name, values in self.protocol(sr, hr, lr).items():
            getattr(self, name).append(values)

    def _sync_dist(self, *args: Any, **kwargs: Any) -> None:
        """A process that had no picture answers with none: torchmetrics would leave it out, and the others waiting."""
        for name in self.protocol.metric_names:
            if not len(getattr(self, name)):
                setattr(self, name, [torch.zeros(0, dtype=torch.float64, device=self.device)])
        super()._sync_dist(*args, **kwargs)

    def per_image(self) -> dict[str, list[float]]:
        """Every image's values, in the order in which they came."""
        return {name: _cat(getattr(self, name)).tolist() for name in self.protocol.metric_names}

    def compute(self) -> dict[str, float]:
        """Means over images; an image without any error makes the mean PSNR infinite, and it is said so. An image that
        a measure cannot judge (nan: too small for MS-SSIM, without colour) is left out of that measure's mean."""
        values = {name: _cat(getattr(self, name)) for name in self.protocol.metric_names}
        return {name: (v.nanmean() if name in self.protocol.also else v.mean()).item() for name, v in values.items()}


def group_by_image(
    names: list[str], ours: dict[str, list[float]], guess: dict[str, list[float]]
) -> dict[str, dict[str, float]]:
    """`{"baby": {"psnr": …, "ssim": …, "bicubic_psnr": …}}`, from `per_image()` of a net and of bicubic."""
    columns = {**ours, **{f"bicubic_{name}": values for name, values in guess.items()}}
    return {name: dict(zip(columns, row, strict=True)) for name, *row in zip(names, *columns.values(), strict=True)}


def _cat(state: list[Tensor] | Tensor) -> Tensor:
    return torch.cat(state) if isinstance(state, list) else state
