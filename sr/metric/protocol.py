"""`metric=…`: the evaluation protocol, which travels with every number it made."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from sr.image.batch import MetricInput
from sr.image.color import rgb_to_luma
from sr.metric.psnr import psnr
from sr.metric.ssim import ssim
from sr.runtime.error import UserError

Channel = Literal["y", "y8", "rgb"]
STANDARD: dict[str, Channel] = {"edsr": "y", "vdsr": "y8", "ntire": "rgb"}  # what each name promises
Measure = Callable[[MetricInput], Tensor]  # one value an image, [B]; `unit` and `better` beside it


class Protocol:
    """Rounds to 8 bits, takes the luma, cuts the border, then measures each image.

    `channel` is what is measured of an RGB picture: `y` (BT.601, 16…235, in float, not rounded), `rgb`, or `y8`: the
    luma is rounded to 8 bits *before* anything else, and the net sees it alone. One-channel pictures are measured as
    they are. The border is `scale` pixels wide. `also` names further measures, such as `sr.metric.lr_psnr.LRPSNR`.
    """

    def __init__(
        self, name: str, scale: int, color: str, channel: Channel = "y", also: Mapping[str, Measure] | None = None
    ) -> None:
        if channel not in STANDARD.values():
            raise UserError(f"metric.channel={channel}: expected one of {', '.join(STANDARD.values())}")
        if channel == "y8" and color != "y":
            raise UserError(
                f"metric={name} measures nets that see luma alone, and this one sees color={color}: "
                f"say color=y (a net of one channel), or measure it by metric=edsr"
            )
        self.scale, self.color, self.channel = scale, color, channel
        self.also = {getattr(measure, "label", key): measure for key, measure in (also or {}).items()}
        own = [channel] * (channel != STANDARD.get(name, channel))
        self.name = "-".join([name, *own, *["gray"] * (color == "gray")])

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The names of all that is measured, in the order of the tables."""
        return ("psnr", "ssim", *self.also)

    def sign(self, name: str) -> int:
        """1 where a higher value is better, -1 where a lower one is."""
        return -1 if getattr(self.also.get(name), "better", "higher") == "lower" else 1

    @property
    def standard_lr(self) -> str:
        """How all published tables made their LR, in the words of `sr.data.module.SRData.lr_from`."""
        return f"Bicubic(scale={self.scale}, border=mirror)"

    def describe(self, lr: str = "") -> dict[str, str | int]:
        """What has to be equal before two numbers may be compared; `lr` says where the LR pictures came from."""
        made = {"lr": f"{lr}{', not rounded' if self.channel == 'y8' else ''}"} if lr else {}
        return {
            "protocol": self.name,
            "channel": "gray" if self.color == "gray" else self.channel,
            "scale": self.scale,
            "border": self.scale,
            "rounding": "8 bit",
            "psnr": "peak 255, mean of images",
            "ssim": "11×11 Gaussian 1.5, valid, mean of images",
            **made,
        }

    def select_channels(self, hr: Tensor, gray: bool = False) -> Tensor:
        """What of 8-bit pictures `[B, C, H, W]` there is to enlarge: the pictures; by `y8` their luma, rounded, in
        levels 0…255 of float64, so that the LR made of it stays unrounded. A gray *file* is its own luma, as in MATLAB
        (`gray`: the channels are one, repeated)."""
        if self.channel != "y8" or hr.shape[1] == 1:
            return hr
        return hr[:, :1].double() if gray else (rgb_to_luma(hr.double() / 255) * 255 + 0.5).floor()

    def __call__(self, sr: Tensor, hr: Tensor, lr: Tensor | None = None) -> dict[str, Tensor]:
        """PSNR in dB, SSIM and what `also` adds, of each image: float 0…1 `[B, C, H, W]` -> `{"psnr": [B], …}`."""
        seen = self.prepare(sr, hr, lr)
        return {"psnr": psnr(seen.x, seen.y), "ssim": ssim(seen.x, seen.y)} | {
            name: measure(seen) for name, measure in self.also.items()
        }

    def prepare(self, sr: Tensor, hr: Tensor, lr: Tensor | None = None) -> MetricInput:
        """The batch as it is measured."""
        if sr.shape != hr.shape:
            raise UserError(
                f"result {tuple(sr.shape)} and HR {tuple(hr.shape)} differ in size: is scale={self.scale} right?"
            )
        (x, sr), (y, hr) = self._prepared(sr), self._prepared(hr)
        return MetricInput(x, y, sr, hr, lr)

    def _prepared(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Levels as measured, border cut; and the whole picture, 8 bits in 0…1."""
        level = (image.clamp(0, 1).to(torch.float32) * 255 + 0.5).floor().double()  # 8-bit levels
        measured, b = level, self.scale
        if self.channel == "y" and level.shape[1] == 3:
            measured = rgb_to_luma(level / 255) * 255
        return measured[..., b:-b, b:-b], level / 255


def require_same_protocol(ours: dict[str, Any], theirs: dict[str, Any], what: str) -> None:
    """Raise unless numbers of two protocols (`Protocol.describe()`) may stand in one column; `what` names the other."""
    keys = [key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)]
    if keys:
        sides = "; ".join(f"{key}: {ours.get(key, '–')} here, {theirs.get(key, '–')} there" for key in keys)
        raise UserError(f"{what} was measured by another protocol, and cannot be compared ({sides})")
