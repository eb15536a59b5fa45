"""`metric=…`: the evaluation protocol, which is stored with every number that was measured under it."""

from collections.abc import Iterator, Mapping
from copy import copy
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from sr.image.batch import MetricInput
from sr.image.color import rgb_to_luma
from sr.metric.metric import Metric
from sr.metric.psnr import psnr
from sr.metric.ssim import ssim
from sr.metric.standard import describe_rounding, describe_standard_lr
from sr.runtime.error import UserError
from sr.runtime.option_types import NonEmptyStr, ValueRange

Channel = Literal["y", "y8", "rgb"]
STANDARD_CHANNELS: dict[str, Channel] = {
    "edsr": "y",
    "vdsr": "y8",
    "ntire": "rgb",
}  # the channel of each named protocol


class Protocol:
    """Rounds to `depth` bits, converts to luma, cuts the border of `scale` pixels, then measures each image.

    `channel` says what of an RGB image is measured: `y` (BT.601, 16…235, in float, not rounded), `rgb`, or `y8`: the
    luma is rounded to 8 bits *before* anything else, and the net's input is luma only. One-channel images are measured
    as they are, and so are all bands with `color=bands`. `depth` is that of the images, 8 or 16 bits: PSNR has the peak 255
    or 65535. `also` holds further metrics by name, such as `sr.metric.lr_psnr.LRPSNR`. `range` are the values of the files
    that levels 0 and `peak` stand for: the peak of PSNR is its width.

    A pixel of HR that is nan in one band has no data. It is left out, with a border of `scale` pixels around it.
    """

    def __init__(
        self,
        name: NonEmptyStr,
        scale: int,
        color: str,
        channel: Channel = "y",
        also: Mapping[str, Metric] | None = None,
        depth: Literal[8, 16] = 8,
        range: ValueRange | None = None,
    ) -> None:
        if channel not in STANDARD_CHANNELS.values():
            raise UserError(f"metric.channel={channel}: expected one of {', '.join(STANDARD_CHANNELS.values())}")
        if channel == "y8" and color != "y":
            raise UserError(
                f"metric={name}: expected a net on luma, color=y (found color={color}); "
                f"use color=y (a net of one channel) or metric=edsr"
            )
        if range is not None and depth == 8:
            raise UserError(
                f"metric.depth=8: expected 16 bits, to which data.range={list(range)} is stretched (found 8); metric.depth=16"
            )
        if depth not in (8, 16) or (depth == 16 and channel == "y8"):
            raise UserError(
                f"metric.depth={depth}: expected 8 or 16 bits, and 8 with metric=vdsr, which rounds luma to 8 bits"
            )
        for key, metric in (also or {}).items():
            if not isinstance(metric, Metric):
                raise UserError(
                    f"metric/also=[{key}]: expected a metric with better, unit, label and perceptual_rank (found "
                    f"{type(metric).__name__}); let its class inherit from sr.metric.metric.Metric"
                )
        self.scale, self.color, self.channel, self.depth = scale, color, channel, depth
        self.peak = 2**depth - 1
        self.range = None if range is None else (float(range[0]), float(range[1]))
        self.default_range = ""  # what black and white of the files are without `range`, if a data source chooses them
        self.also = {metric.label or key: metric for key, metric in (also or {}).items()}
        changed = [channel] * (channel != STANDARD_CHANNELS.get(name, channel))
        self.name = "-".join([name, *changed, *["16bit"] * (depth == 16), *[color] * (color in ("gray", "bands"))])

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The names of all metrics, in the order of the tables."""
        return ("psnr", "ssim", *self.also)

    @property
    def needs_previous(self) -> bool:
        """True if a metric compares each frame of a clip with the one before it."""
        return any(metric.needs_previous for metric in self.also.values())

    @property
    def perceptual_names(self) -> list[str]:
        """The names of the perceptual metrics, the one that monitor_also=auto selects first."""
        ranks = {name: metric.perceptual_rank for name, metric in self.also.items() if metric.perceptual_rank > 0}
        return sorted(ranks, key=lambda name: (-ranks[name], name))

    def select_previous(self) -> "Protocol":
        """Return this protocol with no further metrics but those of clips."""
        protocol = copy(self)
        protocol.also = {name: metric for name, metric in self.also.items() if metric.needs_previous}
        return protocol

    def sign(self, name: str) -> int:
        """Return 1 if a higher value of this metric is better, -1 if a lower one is."""
        return -1 if name in self.also and self.also[name].better == "lower" else 1

    @property
    def standard_lr(self) -> str:
        """The degradation of all published tables, as `SRDataModule.describe_lr` writes it."""
        return describe_standard_lr(self.scale)

    def describe(self, lr: str = "") -> dict[str, str | int]:
        """Return everything that must be equal before two numbers may be compared; `lr` describes how the LR was made."""
        lr_source = {"lr": describe_rounding(lr, self.channel)} if lr else {}
        peak, value_range = f"{self.peak}", {"range": self.default_range} if self.default_range else {}
        if self.range is not None:
            black, white = self.range
            peak, value_range = f"{white - black:g}", {"range": f"{black:g}…{white:g}"}
        if self.color == "bands":
            value_range["no data"] = f"left out, with a border of {self.scale}"
        return {
            "protocol": self.name,
            "channel": self.color if self.color in ("gray", "bands") else self.channel,
            "scale": self.scale,
            "border": self.scale,
            "rounding": f"{self.depth} bit",
            "psnr": f"peak {peak}, mean of images",
            "ssim": "11×11 Gaussian 1.5, valid, mean of images",
            **value_range,
            **lr_source,
        }

    def select_channels(self, hr: Tensor, gray: bool = False) -> Tensor:
        """Return the HR that the LR is made from: levels `[B, C, H, W]` -> the same, or their luma `[B, 1, H, W]`.

        With `y8` it is the luma rounded to levels 0…255, as float64, so that the LR made from it is not rounded. A gray
        *file* is its own luma, as in MATLAB (`gray`: the channels are one channel, repeated).
        """
        if self.channel != "y8" or hr.shape[1] == 1:
            return hr
        return hr[:, :1].double() if gray else (rgb_to_luma(hr.double() / 255) * 255 + 0.5).floor()

    def __call__(self, sr: Tensor, hr: Tensor, lr: Tensor | None = None) -> dict[str, Tensor]:
        """Return PSNR in dB, SSIM and the metrics of `also`: float `[B, C, H, W]` in 0…1 -> `{"psnr": [B], …}`."""
        return dict(self.iterate_values(self.prepare(sr, hr, lr)))

    def iterate_values(self, images: MetricInput, previous: MetricInput | None = None) -> Iterator[tuple[str, Tensor]]:
        """Yield the name of each metric and its values of prepared images, `[B]`.

        `previous` are the frames before them, if they are frames of a clip.
        """
        yield "psnr", psnr(images.x, images.y, images.valid)
        yield "ssim", ssim(images.x, images.y, images.valid)
        for name, metric in self.also.items():
            yield name, self._measure(metric, images, previous)

    def _measure(self, metric: Metric, images: MetricInput, previous: MetricInput | None) -> Tensor:
        """Return a further metric `[B]`: nan for images that have pixels without data, unless it leaves those out."""
        values = metric(images, previous) if metric.needs_previous else metric(images)
        if images.valid is None or metric.takes_mask:
            return values
        return torch.where(images.valid.all(dim=-1).all(dim=-1)[:, 0], values, torch.nan)

    def prepare(self, sr: Tensor, hr: Tensor, lr: Tensor | None = None) -> MetricInput:
        """Round, convert and cut a batch of float images `[B, C, H, W]` in 0…1 for the metrics."""
        if sr.shape != hr.shape:
            raise UserError(
                f"result {tuple(sr.shape)} and HR {tuple(hr.shape)} differ in size: is scale={self.scale} right?"
            )
        valid = self._find_valid(hr)
        (x, sr), (y, hr) = self._prepare_image(sr), self._prepare_image(hr if valid is None else hr.nan_to_num())
        return MetricInput(x, y, sr, hr, lr, valid)

    def replace_result(self, images: MetricInput, sr: Tensor) -> MetricInput:
        """Return what `prepare` does for another result of the same HR, which is not prepared again."""
        x, sr = self._prepare_image(sr)
        return images._replace(x=x, sr=sr)

    def select_measured(self, image: Tensor) -> Tensor:
        """Return the channels that PSNR is measured on, not rounded: float `[B, C, H, W]` in 0…1 -> levels 0…255."""
        return (rgb_to_luma(image) if self._has_luma(image) else image) * 255

    def _has_luma(self, image: Tensor) -> bool:
        """Return whether the luma of an image is measured, instead of its channels."""
        return self.channel == "y" and image.shape[1] == 3 and self.color != "bands"

    def _find_valid(self, hr: Tensor) -> Tensor | None:
        """Return where there is data within the border, bool `[B, 1, H - 2b, W - 2b]`; None if there is data everywhere."""
        if not hr.sum().isnan():
            return None
        missing, b = hr.isnan().any(dim=1, keepdim=True), self.scale
        return F.max_pool2d(missing.float(), 2 * b + 1, 1, b)[..., b:-b, b:-b] == 0

    def _prepare_image(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the levels that PSNR and SSIM are measured on, 0…255, border cut, and the whole image in 0…1, rounded."""
        image = image.clamp(0, 1).to(torch.float32 if self.depth == 8 else torch.float64)
        levels = (image * self.peak + 0.5).floor().double() / (self.peak // 255)  # of 16 bits in steps of 1/257
        rounded, b = levels / 255, self.scale
        measured = rgb_to_luma(rounded) * 255 if self._has_luma(levels) else levels
        return measured[..., b:-b, b:-b], rounded


def require_same_protocol(own: dict[str, Any], other: dict[str, Any], source: str) -> None:
    """Raise unless numbers of two protocols (`Protocol.describe()`) may be compared; `source` names the other one."""
    keys = [key for key in {**own, **other} if own.get(key) != other.get(key)]
    if keys:
        differences = "; ".join(f"{key}: {own.get(key, '–')} here, {other.get(key, '–')} there" for key in keys)
        raise UserError(f"{source} was measured under another protocol and cannot be compared ({differences})")
