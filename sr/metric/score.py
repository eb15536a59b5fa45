"""Per-image scores of one set, as a torchmetrics metric: right under DDP and with unequal batches."""

import torch
from torch import Tensor
from torchmetrics import Metric

from sr.metric.protocol import Protocol


class Score(Metric):
    """Gathers each image's PSNR and SSIM; the result is their mean over images, never a pooled error."""

    full_state_update = False

    def __init__(self, protocol: Protocol) -> None:
        super().__init__()
        self.protocol = protocol
        self.add_state("psnr", default=[], dist_reduce_fx="cat")
        self.add_state("ssim", default=[], dist_reduce_fx="cat")

    def update(self, sr: Tensor, hr: Tensor) -> None:
        """Measure a batch of float 0…1 images `[B, C, H, W]`."""
        for name, values in self.protocol(sr, hr).items():
            getattr(self, name).append(values)

    def per_image(self) -> dict[str, list[float]]:
        """Every image's values, in the order in which they came."""
        return {name: _cat(getattr(self, name)).tolist() for name in ("psnr", "ssim")}

    def compute(self) -> dict[str, float]:
        """Means over images; an image without any error makes the mean PSNR infinite, and it is said so."""
        return {name: _cat(getattr(self, name)).mean().item() for name in ("psnr", "ssim")}


def _cat(state: list[Tensor] | Tensor) -> Tensor:
    return torch.cat(state) if isinstance(state, list) else state
