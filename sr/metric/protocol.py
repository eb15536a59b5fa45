"""`metric=…`: the evaluation protocol, which travels with every number it made."""

from typing import Literal

import torch
from torch import Tensor

from sr.color import luma
from sr.error import UserError
from sr.metric.psnr import psnr
from sr.metric.ssim import ssim


class Protocol:
    """Rounds to 8 bits, takes the luma, cuts the border, then measures each image.

    `channel` is what is measured of an RGB picture: `y` (BT.601, 16…235, in float, not rounded) or `rgb`.
    One-channel pictures are measured as they are. The border is `scale` pixels wide.
    """

    def __init__(self, name: str, scale: int, color: str, channel: Literal["y", "rgb"] = "y") -> None:
        if channel not in ("y", "rgb"):
            raise UserError(f"metric.channel={channel}: expected y or rgb")
        self.scale, self.channel = scale, channel
        self.name = "-".join([name, *["rgb"] * (channel == "rgb"), *[color] * (color != "rgb")])

    def describe(self) -> dict[str, str | int]:
        """What has to be equal before two numbers may be compared."""
        return {
            "protocol": self.name,
            "channel": "gray" if self.name.endswith("-gray") else self.channel,
            "scale": self.scale,
            "border": self.scale,
            "rounding": "8 bit",
            "psnr": "peak 255, mean of images",
            "ssim": "11×11 Gaussian 1.5, valid, mean of images",
        }

    def __call__(self, sr: Tensor, hr: Tensor) -> dict[str, Tensor]:
        """PSNR in dB and SSIM of each image: two `[B, C, H, W]`, float 0…1 -> `{"psnr": [B], "ssim": [B]}`."""
        if sr.shape != hr.shape:
            raise UserError(
                f"result {tuple(sr.shape)} and HR {tuple(hr.shape)} differ in size: is scale={self.scale} right?"
            )
        x, y = self._prepared(sr), self._prepared(hr)
        return {"psnr": psnr(x, y), "ssim": ssim(x, y)}

    def _prepared(self, image: Tensor) -> Tensor:
        level = (image.clamp(0, 1).to(torch.float32) * 255 + 0.5).floor().double()  # 8-bit levels
        if self.channel == "y" and level.shape[1] == 3:
            level = luma(level / 255) * 255
        b = self.scale
        return level[..., b:-b, b:-b]
