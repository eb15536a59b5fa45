"""`uncertainty=true`: where is a net unsure, and is it wrong there? The spread of its results, next to their true error."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from sr.evaluation.uncertainty_sheet import draw_sheet
from sr.image.bands import show_bands
from sr.image.batch import EvaluationOutput
from sr.inference.memory import advise_tile, report_out_of_memory
from sr.inference.spread import describe_source, measure_spread
from sr.metric.calibration import GROUPS, TOP, Calibration, compute_calibration
from sr.metric.lr_psnr import compute_lr_error
from sr.metric.protocol import Protocol
from sr.record.result import UncertaintyResult

MAX_SHEETS = 8  # images of a set whose maps are drawn


@dataclass
class SpreadEvaluator:
    """Measures the images of one set, one after another.

    `nets` are those of `measure_spread`, and `degrade` is the degradation that made the LR images. Maps are drawn of the
    first `MAX_SHEETS` images.
    """

    nets: Sequence[nn.Module]
    protocol: Protocol
    degrade: Callable[[Tensor], Tensor]
    color: str
    ensemble: bool
    tile: int | None
    sheets: dict[str, Image.Image] = field(default_factory=dict)
    _calibrations: dict[str, Calibration] = field(default_factory=dict)
    _lr_errors: dict[str, float] = field(default_factory=dict)

    def update(self, batch: EvaluationOutput, names: Sequence[str]) -> None:
        """Measure a batch of results."""
        for k, name in enumerate(names):
            self._measure(*(image[k : k + 1] for image in batch), name)

    def _measure(self, lr: Tensor, sr: Tensor, hr: Tensor, name: str) -> None:
        h, w = lr.shape[-2:]
        with report_out_of_memory(
            f"{name}: the spread of an LR of {w}×{h}", advise_tile(self.nets[0], (h, w), self.tile)
        ):
            options = self.color, self.ensemble, self.tile, self.protocol.select_measured
            b = self.protocol.scale  # the border that is not measured
            spread = measure_spread(self.nets, lr, *options)[1][0, 0, b:-b, b:-b]
            images = self.protocol.prepare(sr, hr, lr)
            error = (images.x - images.y).square().mean(dim=1)[0].sqrt()
            if images.valid is not None:
                error, spread = (torch.where(images.valid[0, 0], x, torch.nan) for x in (error, spread))
            counted = error.isfinite()
            self._calibrations[name] = compute_calibration(spread[counted], error[counted])
            lr_error = None
            if getattr(self.degrade, "fixed", True):
                lr_error = compute_lr_error(images.sr, lr, self.degrade)[0, 0]
                self._lr_errors[name] = lr_error.square().mean().sqrt().item()
        if len(self.sheets) < MAX_SHEETS:
            shown = show_bands([images.sr], hr)[0] if self.protocol.color == "bands" else images.sr
            maps = (spread.nan_to_num(0), error.nan_to_num(0))
            self.sheets[name] = draw_sheet(shown[0], *maps, lr_error, self.protocol.scale)

    def compute(self) -> UncertaintyResult:
        """Return the numbers of all images and their means."""
        per_image = {
            name: {key: getattr(one, key) for key in ("spread", "error", "rank_correlation", "top_share", "best_share")}
            | ({"lr_error": self._lr_errors[name]} if name in self._lr_errors else {})
            for name, one in self._calibrations.items()
        }
        keys = next(iter(per_image.values()))
        groups = torch.tensor([one.groups for one in self._calibrations.values()]).square().mean(dim=0).sqrt()
        curves = torch.tensor([one.curve for one in self._calibrations.values()])
        return UncertaintyResult(
            protocol=self._describe(),
            metrics={key: _compute_mean([values[key] for values in per_image.values()]) for key in keys},
            per_image=per_image,
            groups=groups.tolist(),
            curve=curves.nanmean(dim=0).tolist(),
        )

    def _describe(self) -> dict[str, Any]:
        """Return everything that must be equal before two of these numbers may be compared."""
        return {
            "spread": f"standard deviation of a pixel over {describe_source(len(self.nets), self.ensemble)}, not rounded",
            "error": f"of a pixel, under {self.protocol.name}",
            "unit": "levels of 8 bits, root mean square",
            "rank_correlation": "Spearman, pixels of one image, mean of images",
            "top_share": f"share of the squared error in the {TOP:.0%} of the pixels of the largest spread, mean of images",
            "groups": f"{GROUPS} groups of the pixels of each image, by spread",
            "lr_error": repr(self.degrade),
        }


def _compute_mean(values: Sequence[float]) -> float:
    """Return the mean of the values that are not nan."""
    values = [value for value in values if not math.isnan(value)]
    return sum(values) / len(values) if values else math.nan
