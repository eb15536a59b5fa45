"""`data/degrade=mtf`: what a satellite with pixels `scale` times as large would see, by its modulation transfer function.

HR is blurred by a Gaussian of which each band's transfer at the Nyquist frequency of LR is that of the sensor, then sampled
at the centers of the LR pixels (Aiazzi et al., "MTF-tailored multiscale fusion of high-resolution MS and Pan imagery",
2006). With the transfer exp(-2π²σ²f²) = m at f = 1 / (2·scale): σ = scale·sqrt(-2 ln m) / π HR pixels. The transfer that HR
has itself is not undone: LR is as blurred, in its own pixels, as an image of the sensor is.
"""

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from annotated_types import Interval
from torch import Tensor, nn

from sr.image.levels import WHITE
from sr.runtime.error import UserError, suggest_nearest
from sr.runtime.parallel import use_one_thread

# The transfer at Nyquist of the bands of a sensor, from blue to near infrared.
SENSORS = {
    # B2, B3, B4, B8, as measured in orbit (Sentinel-2 L1C Data Quality Report), in the form in which Ulfarsson et al.,
    # "Sentinel-2 Sharpening Using a Reduced-Rank Method", 2019, use them.
    "sentinel2_10m": (0.26, 0.28, 0.24, 0.26),
    # Blue, green, red, near infrared: Vivone et al., "A Critical Comparison Among Pansharpening Algorithms", 2015.
    "quickbird": (0.34, 0.32, 0.30, 0.22),
    "ikonos": (0.26, 0.28, 0.29, 0.28),
}
REACH = 4  # standard deviations at which the Gaussian is cut off
Sensor = Literal["sentinel2_10m", "quickbird", "ikonos"]
Transfer = Annotated[float, Interval(gt=0, lt=1)]


class MTF(nn.Module):
    """HR `[B, C, s·h, s·w]` of levels -> LR `[B, C, h, w]` of this type, rounded half up; of float unrounded.

    `mtf` is the transfer at Nyquist, 0…1: one number for all bands, one for each band, or the name of a sensor. Images are
    mirrored at their borders.
    """

    fixed: ClassVar[bool] = True  # nothing is random: the LR of a training image is computed once

    def __init__(self, scale: int, mtf: Sensor | Transfer | Sequence[Transfer] = 0.26) -> None:
        super().__init__()
        if isinstance(mtf, str) and mtf not in SENSORS:
            raise UserError(
                f"data.degrade.mtf={mtf}: expected a number in 0…1, a list of one for each band, or one of "
                f"{', '.join(SENSORS)}.{suggest_nearest(mtf, SENSORS)}"
            )
        values = SENSORS[mtf] if isinstance(mtf, str) else mtf
        self.scale = scale
        self.mtf = tuple(values) if isinstance(values, Sequence) else (values,)
        if not all(0 < value < 1 for value in self.mtf):
            raise UserError(f"data.degrade.mtf={list(self.mtf)}: expected numbers between 0 and 1")

    def extra_repr(self) -> str:
        return f"scale={self.scale}, mtf={list(self.mtf)}"

    def forward(self, hr: Tensor) -> Tensor:
        channels = hr.shape[-3]
        if len(self.mtf) not in (1, channels):
            raise UserError(
                f"data.degrade.mtf={list(self.mtf)}: expected one number, or one for each of the {channels} bands "
                f"(found {len(self.mtf)})"
            )
        values = self.mtf * channels if len(self.mtf) == 1 else self.mtf
        with torch.autocast(hr.device.type, enabled=False), use_one_thread(hr.device):
            bands = [self._sample(hr[..., k : k + 1, :, :], value) for k, value in enumerate(values)]  # of large scenes
        return torch.cat(bands, dim=-3)

    def _sample(self, band: Tensor, value: float) -> Tensor:
        """Blur a band and sample it, one axis after the other: `[B, 1, s·h, s·w]` -> `[B, 1, h, w]`."""
        s, sigma = self.scale, compute_sigma(value, self.scale)
        half = max(1, math.ceil((REACH * sigma + (s - 1) / 2) / s)) * s  # a multiple of s to each side of an LR pixel
        image = band if band.is_floating_point() else band.double()
        image = _mirror(image.reshape(-1, 1, *band.shape[-2:]), half)
        kernel = _create_kernel(sigma, s, half).to(image)
        lr = F.conv2d(image, kernel[None, None, :, None], stride=(s, 1))
        lr = F.conv2d(lr, kernel[None, None, None], stride=(1, s))
        lr = lr.reshape(*band.shape[:-2], *lr.shape[-2:])
        return (lr + 0.5).clamp_(0, WHITE[band.dtype] + 0.5).to(band.dtype) if band.dtype in WHITE else lr


def compute_sigma(mtf: float, scale: int) -> float:
    """Return the standard deviation, in HR pixels, of the Gaussian with this transfer at the Nyquist frequency of LR."""
    return scale * math.sqrt(-2 * math.log(mtf)) / math.pi


def _create_kernel(sigma: float, scale: int, half: int) -> Tensor:
    """Return the Gaussian, at the HR pixels around the center of an LR pixel, float64 `[scale + 2·half]`; its sum is 1."""
    distance = torch.arange(-half, scale + half, dtype=torch.float64) - (scale - 1) / 2
    kernel = torch.exp(-(distance**2) / (2 * sigma**2)) * (distance.abs() <= REACH * sigma + 0.5)
    return kernel / kernel.sum()


def _mirror(image: Tensor, margin: int) -> Tensor:
    """Return `[B, C, H, W]` with a margin of mirrored pixels, the edge pixel twice; also if the image is smaller."""
    for axis in (-2, -1):
        size = image.shape[axis]
        position = torch.arange(-margin, size + margin, device=image.device) % (2 * size)
        image = image.index_select(axis, torch.minimum(position, 2 * size - 1 - position))
    return image
