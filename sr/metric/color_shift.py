"""`metric/also=[color_shift]`: how far the colors are off, as people see it; PSNR on luma is blind to that.

CIEDE2000 (Sharma, Wu and Dalal, "The CIEDE2000 color-difference formula: implementation notes, supplementary test data,
and mathematical observations", 2005, https://doi.org/10.1002/col.20070), computed from sRGB through CIELAB under D65.
"""

import math
from typing import Literal

import torch
from torch import Tensor

from sr.image.batch import MetricInput
from sr.metric.metric import Metric

# Linear BT.709 RGB to XYZ, and the white point of D65, 2° observer: the digits of scikit-image and OpenCV.
_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_WHITE = (0.95047, 1.0, 1.08883)
_CHROMA_KNEE = 25.0**7  # eq. 4 and 17


def rgb_to_lab(rgb: Tensor) -> Tensor:
    """Convert sRGB in 0…1 to CIELAB (L 0…100): `[B, 3, H, W]` -> float64 `[B, 3, H, W]`."""
    rgb = rgb.double()
    linear = torch.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)  # IEC 61966-2-1
    matrix = torch.tensor(_XYZ, dtype=rgb.dtype, device=rgb.device)
    white = torch.tensor(_WHITE, dtype=rgb.dtype, device=rgb.device).view(3, 1, 1)
    t = torch.einsum("kc,bchw->bkhw", matrix, linear) / white
    f = torch.where(t > (6 / 29) ** 3, t.clamp(min=1e-9) ** (1 / 3), t * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = f.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


def delta_e(lab1: Tensor, lab2: Tensor) -> Tensor:
    """Return CIEDE2000 between CIELAB colors, two `[B, 3, …]` -> `[B, …]`, with kL = kC = kH = 1; 1 is just noticeable."""
    (l1, a1, b1), (l2, a2, b2) = lab1.unbind(1), lab2.unbind(1)
    # Chroma and hue, with a* corrected for gray.
    c7 = ((torch.hypot(a1, b1) + torch.hypot(a2, b2)) / 2) ** 7
    g = 1.5 - 0.5 * torch.sqrt(c7 / (c7 + _CHROMA_KNEE))  # 1 + G, eq. 4
    a1, a2 = g * a1, g * a2
    c1, c2 = torch.hypot(a1, b1), torch.hypot(a2, b2)
    h1, h2 = torch.atan2(b1, a1) % math.tau, torch.atan2(b2, a2) % math.tau  # eq. 7

    # Differences of lightness, chroma and hue.
    gray = c1 * c2 == 0
    turn = h2 - h1
    turn = turn - math.tau * (turn > math.pi) + math.tau * (turn < -math.pi)  # eq. 10
    turn = torch.where(gray, 0.0, turn)
    d_l, d_c, d_h = l2 - l1, c2 - c1, 2 * torch.sqrt(c1 * c2) * torch.sin(turn / 2)  # eq. 8, 9, 11

    # Means of lightness, chroma and hue.
    light, chroma, hue_sum = (l1 + l2) / 2, (c1 + c2) / 2, h1 + h2
    wraps = ((h1 - h2).abs() > math.pi) & ~gray
    hue_sum = hue_sum + math.tau * wraps * torch.where(hue_sum < math.tau, 1.0, -1.0)
    hue = torch.where(gray, hue_sum, hue_sum / 2)  # eq. 14

    # Weighting functions and the rotation term of blue.
    t = (
        1
        - 0.17 * torch.cos(hue - math.radians(30))
        + 0.24 * torch.cos(2 * hue)
        + 0.32 * torch.cos(3 * hue + math.radians(6))
        - 0.20 * torch.cos(4 * hue - math.radians(63))
    )  # eq. 15
    blue = math.radians(60) * torch.exp(-(((torch.rad2deg(hue) - 275) / 25) ** 2))  # 2·Δθ, eq. 16
    c7 = chroma**7
    rotation = -2 * torch.sqrt(c7 / (c7 + _CHROMA_KNEE)) * torch.sin(blue)  # eq. 17, 21
    s_l = 1 + 0.015 * (light - 50) ** 2 / torch.sqrt(20 + (light - 50) ** 2)  # eq. 18
    s_c, s_h = 1 + 0.045 * chroma, 1 + 0.015 * chroma * t  # eq. 19, 20
    l_, c_, h_ = d_l / s_l, d_c / s_c, d_h / s_h
    return torch.sqrt((l_**2 + c_**2 + h_**2 + rotation * c_ * h_).clamp(min=0))  # eq. 22


def color_shift(sr: Tensor, hr: Tensor) -> Tensor:
    """Return the mean CIEDE2000 of each image: two sRGB `[B, 3, H, W]` in 0…1 -> float64 `[B]`; 0 for equal images."""
    pairs = zip(sr, hr, strict=True)  # one by one: the formula holds some thirty maps at a time
    return torch.stack([delta_e(rgb_to_lab(x[None]), rgb_to_lab(y[None])).mean() for x, y in pairs])


class ColorShift(Metric):
    """Mean ΔE 2000 of the whole 8-bit image, border included: a wrong border shows. One channel has no color: nan."""

    unit = "ΔE"
    better: Literal["higher", "lower"] = "lower"

    def __call__(self, images: MetricInput) -> Tensor:
        """Return `[B]`, 0 or more, or nan."""
        if images.sr.shape[1] != 3:
            return torch.full((len(images.sr),), torch.nan, dtype=torch.float64, device=images.sr.device)
        return color_shift(images.sr, images.hr)
