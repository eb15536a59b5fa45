"""The protocol of an evaluation without HR: whole images, measured by metrics that need no reference."""

from collections.abc import Mapping

import torch
from torch import Tensor

from sr.image.batch import MetricInput
from sr.image.levels import to_unit
from sr.metric.metric import Metric
from sr.runtime.error import UserError

NAME = "no-reference"


class NoReference:
    """Measures whole images in the depth of their files by the metrics of `also`, by name; no border is cut.

    A gray image is measured as RGB of equal channels, so that the same photograph has one value whatever its file holds.
    `scale` is that of the results; None: not known, and of no influence.
    """

    name, standard_lr = NAME, ""

    def __init__(self, scale: int | None, also: Mapping[str, Metric]) -> None:
        for key, metric in also.items():
            if not isinstance(metric, Metric) or metric.needs_reference:
                raise UserError(
                    f"metric/also=[{key}]: expected a metric that needs no HR (found {type(metric).__name__})"
                )
        self.scale = scale
        self.also = {metric.label or key: metric for key, metric in also.items()}

    def describe(self) -> dict[str, str | int]:
        """Return everything that must be equal before two numbers may be compared."""
        scale = {"scale": self.scale} if self.scale else {}
        return {"protocol": self.name, **scale, "border": 0, "rounding": "depth of the file", "gray": "as RGB"}

    def __call__(self, levels: Tensor) -> dict[str, float]:
        """Return the value of each metric: uint8 or uint16 `[1 or 3, H, W]` -> `{"niqe_matlab": …}`; nan: it has none."""
        image = to_unit(levels, torch.float64).expand(3, -1, -1)[None]
        images = MetricInput(x := image * 255, x, image, image, image)  # such a metric reads `x` or `sr` alone
        return {name: metric(images).item() for name, metric in self.also.items()}
