"""Per-image values of one image set as a torchmetrics metric: correct under DDP and with batches of unequal size."""

import sr.runtime.torchvision_shim  # noqa: F401  before Lightning and torchmetrics

from typing import Any

import torch
import torchmetrics
from torch import Tensor

from sr.image.batch import MetricInput
from sr.metric.protocol import Protocol


class Score(torchmetrics.Metric):
    """Collects PSNR, SSIM and the protocol's further metrics of each image; the result is their mean over images.

    The error is never pooled over images.
    """

    full_state_update = False

    def __init__(self, protocol: Protocol) -> None:
        super().__init__()
        self.protocol = protocol
        for name in protocol.metric_names:
            self.add_state(name, default=[], dist_reduce_fx="cat")
        self._previous: MetricInput | None = None  # the last batch, if a metric needs it
        self._clip: str | None = None  # whose frame that was

    def update(self, sr: Tensor, hr: Tensor, lr: Tensor | None = None, clip: str | None = None) -> None:
        """Evaluate a batch of float images `[B, C, H, W]` in 0…1.

        `clip` names the clip of which a batch of one image is the next frame; None: it is no frame of a clip. The first
        frame that a process evaluates has no frame before it, under DDP too.
        """
        images = self.protocol.prepare(sr, hr, lr)
        is_next = clip is not None and clip == self._clip and images.hr.shape == self._previous.hr.shape
        for name, values in self.protocol.measure(images, self._previous if is_next else None).items():
            getattr(self, name).append(values)
        if self.protocol.needs_previous:
            self._previous, self._clip = images, clip

    def reset(self) -> None:
        """Drop all values, and the last frame."""
        super().reset()
        self._previous = self._clip = None

    def _sync_dist(self, *args: Any, **kwargs: Any) -> None:
        """Gather the values of all processes.

        A process without images contributes an empty tensor: torchmetrics would leave it out, and the others would wait.
        """
        for name in self.protocol.metric_names:
            if not len(getattr(self, name)):
                setattr(self, name, [torch.zeros(0, dtype=torch.float64, device=self.device)])
        super()._sync_dist(*args, **kwargs)

    def per_image(self) -> dict[str, list[float]]:
        """Return the values of every image, in the order of the updates."""
        return {name: _concatenate(getattr(self, name)).tolist() for name in self.protocol.metric_names}

    def compute(self) -> dict[str, float]:
        """Return the means over images.

        One image without any error makes the mean PSNR infinite, which is reported as it is. An image for which a
        further metric has no value (nan: too small for MS-SSIM, no color) is left out of the mean of that metric.
        """
        values = {name: _concatenate(getattr(self, name)) for name in self.protocol.metric_names}
        return {name: (v.nanmean() if name in self.protocol.also else v.mean()).item() for name, v in values.items()}


def group_by_image(
    names: list[str], values: dict[str, list[float]], bicubic: dict[str, list[float]]
) -> dict[str, dict[str, float]]:
    """Return `{"baby": {"psnr": …, "ssim": …, "bicubic_psnr": …}}` from `Score.per_image()` of a net and of bicubic."""
    columns = {**values, **{f"bicubic_{name}": column for name, column in bicubic.items()}}
    return {name: dict(zip(columns, row, strict=True)) for name, *row in zip(names, *columns.values(), strict=True)}


def _concatenate(state: list[Tensor] | Tensor) -> Tensor:
    """Return a state as one tensor: a list before synchronization, a tensor after it."""
    return torch.cat(state) if isinstance(state, list) else state
