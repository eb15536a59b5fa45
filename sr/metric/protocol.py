"""`metric=…`: the evaluation protocol, which is stored with every number that was measured under it."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from sr.image.batch import MetricInput
from sr.image.color import rgb_to_luma
from sr.metric.metric import Metric
from sr.metric.psnr import psnr
from sr.metric.ssim import ssim
from sr.metric.standard import describe_rounding, describe_standard_lr
from sr.runtime.error import UserError
from sr.runtime.option_types import NonEmptyStr

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
    as they are. `depth` is that of the images, 8 or 16 bits: PSNR has the peak 255 or 65535. `also` holds further metrics
    by name, such as `sr.metric.lr_psnr.LRPSNR`.
    """

    def __init__(
        self,
        name: NonEmptyStr,
        scale: int,
        color: str,
        channel: Channel = "y",
        also: Mapping[str, Metric] | None = None,
        depth: Literal[8, 16] = 8,
    ) -> None:
        if channel not in STANDARD_CHANNELS.values():
            raise UserError(f"metric.channel={channel}: expected one of {', '.join(STANDARD_CHANNELS.values())}")
        if channel == "y8" and color != "y":
            raise UserError(
                f"metric={name}: expected a net on luma, color=y (found color={color}); "
                f"use color=y (a net of one channel) or metric=edsr"
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
        self.also = {metric.label or key: metric for key, metric in (also or {}).items()}
        changed = [channel] * (channel != STANDARD_CHANNELS.get(name, channel))
        self.name = "-".join([name, *changed, *["16bit"] * (depth == 16), *["gray"] * (color == "gray")])

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The names of all metrics, in the order of the tables."""
        return ("psnr", "ssim", *self.also)

    @property
    def perceptual_names(self) -> list[str]:
        """The names of the perceptual metrics, the one that monitor_also=auto selects first."""
        ranks = {name: metric.perceptual_rank for name, metric in self.also.items() if metric.perceptual_rank > 0}
        return sorted(ranks, key=lambda name: (-ranks[name], name))

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
        return {
            "protocol": self.name,
            "channel": "gray" if self.color == "gray" else self.channel,
            "scale": self.scale,
            "border": self.scale,
            "rounding": f"{self.depth} bit",
            "psnr": f"peak {self.peak}, mean of images",
            "ssim": "11×11 Gaussian 1.5, valid, mean of images",
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
        images = self.prepare(sr, hr, lr)
        return {"psnr": psnr(images.x, images.y), "ssim": ssim(images.x, images.y)} | {
            name: metric(images) for name, metric in self.also.items()
        }

    def prepare(self, sr: Tensor, hr: Tensor, lr: Tensor | None = None) -> MetricInput:
        """Round, convert and cut a batch of float images `[B, C, H, W]` in 0…1 for the metrics."""
        if sr.shape != hr.shape:
            raise UserError(
                f"result {tuple(sr.shape)} and HR {tuple(hr.shape)} differ in size: is scale={self.scale} right?"
            )
        (x, sr), (y, hr) = self._prepare_image(sr), self._prepare_image(hr)
        return MetricInput(x, y, sr, hr, lr)

    def _prepare_image(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the levels that PSNR and SSIM are measured on, 0…255, border cut, and the whole image in 0…1, rounded."""
        image = image.clamp(0, 1).to(torch.float32 if self.depth == 8 else torch.float64)
        levels = (image * self.peak + 0.5).floor().double() / (self.peak // 255)  # of 16 bits in steps of 1/257
        luma_or_levels, b = levels, self.scale
        if self.channel == "y" and levels.shape[1] == 3:
            luma_or_levels = rgb_to_luma(levels / 255) * 255
        return luma_or_levels[..., b:-b, b:-b], levels / 255


def require_same_protocol(own: dict[str, Any], other: dict[str, Any], source: str) -> None:
    """Raise unless numbers of two protocols (`Protocol.describe()`) may be compared; `source` names the other one."""
    keys = [key for key in {**own, **other} if own.get(key) != other.get(key)]
    if keys:
        differences = "; ".join(f"{key}: {own.get(key, '–')} here, {other.get(key, '–')} there" for key in keys)
        raise UserError(f"{source} was measured under another protocol and cannot be compared ({differences})")
