"""Per-image values of one image set: correct under DDP and with batches of unequal size."""

import time
from typing import Any

import torch
from torch import Tensor, distributed

from sr.image.batch import MetricInput
from sr.metric.protocol import Protocol


class Score:
    """Collects PSNR, SSIM and the protocol's further metrics of each image; the result is their mean over images.

    The error is never pooled over images.
    """

    def __init__(self, protocol: Protocol) -> None:
        self.protocol = protocol
        self._values: dict[str, list[Tensor]] = {name: [] for name in protocol.metric_names}
        self.seconds = dict.fromkeys(protocol.metric_names, 0.0)  # that each metric took; of a GPU: to be started
        self._previous: MetricInput | None = None  # the last batch, if a metric needs it
        self._clip: str | None = None  # whose frame that was

    def update(self, sr: Tensor, hr: Tensor, lr: Tensor | None = None, clip: str | None = None) -> None:
        """Evaluate a batch of float images `[B, C, H, W]` in 0…1.

        `clip` names the clip of which a batch of one image is the next frame; None: it is no frame of a clip. The first
        frame that a process evaluates has no frame before it, under DDP too.
        """
        self.add(self.protocol.prepare(sr, hr, lr), clip)

    def add(self, images: MetricInput, clip: str | None = None) -> None:
        """Evaluate a batch that the protocol has prepared."""
        is_next = clip is not None and clip == self._clip and images.hr.shape == self._previous.hr.shape
        start = time.perf_counter()
        for name, values in self.protocol.iterate_values(images, self._previous if is_next else None):
            self._values[name].append(values)
            now = time.perf_counter()
            self.seconds[name] += now - start
            start = now
        if self.protocol.needs_previous:
            self._previous, self._clip = images, clip

    def gather(self) -> "Score":
        """Return a score with the values of all processes, in the order of their ranks; itself if there is only this one.

        All processes have to call it, those without images too.
        """
        if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
            return self
        scores: list[Any] = [None] * distributed.get_world_size()
        distributed.all_gather_object(scores, self.per_image())
        joined = Score(self.protocol)
        for name, columns in joined._values.items():
            columns += [torch.tensor(values[name], dtype=torch.float64) for values in scores]
        return joined

    def per_image(self) -> dict[str, list[float]]:
        """Return the values of every image, in the order of the updates."""
        return {name: self._join(name).tolist() for name in self.protocol.metric_names}

    def compute(self) -> dict[str, float]:
        """Return the means over images.

        One image without any error makes the mean PSNR infinite, which is reported as it is. An image for which a
        further metric has no value (nan: too small for MS-SSIM, no color) is left out of the mean of that metric.
        """
        values = {name: self._join(name) for name in self.protocol.metric_names}
        return {name: (v.nanmean() if name in self.protocol.also else v.mean()).item() for name, v in values.items()}

    def _join(self, name: str) -> Tensor:
        columns = self._values[name]
        return torch.cat(columns) if columns else torch.zeros(0, dtype=torch.float64)


def group_by_image(
    names: list[str], values: dict[str, list[float]], bicubic: dict[str, list[float]]
) -> dict[str, dict[str, float]]:
    """Return `{"baby": {"psnr": …, "ssim": …, "bicubic_psnr": …}}` from `Score.per_image()` of a net and of bicubic."""
    columns = {**values, **{f"bicubic_{name}": column for name, column in bicubic.items()}}
    return {name: dict(zip(columns, row, strict=True)) for name, *row in zip(names, *columns.values(), strict=True)}
