"""`metric/also=[color_shift]`: how far the colours are off, as people see it, which PSNR on luma cannot tell.

CIEDE2000 (Sharma, Wu and Dalal, "The CIEDE2000 color-difference formula: implementation notes, supplementary test data,
and mathematical observations", 2005, https://doi.org/10.1002/col.20070), from sRGB by way of CIELAB under D65.
"""

import math
from typing import Literal

import torch
from torch import Tensor

from sr.image.batch import MetricInput

# Linear BT.709 RGB to XYZ, and the white of D65, 2° observer: the digits of scikit-image and OpenCV.
_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_WHITE = (0.95047, 1.0, 1.08883)
_KNEE = 25.0**7


def lab(rgb: Tensor) -> Tensor:
    """CIELAB (L 0…100) of sRGB in 0…1: `[B, 3, H, W]` -> float64 `[B, 3, H, W]`."""
    rgb = rgb.double()
    linear = torch.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)  # IEC 61966-2-1
    matrix = torch.tensor(_XYZ, dtype=rgb.dtype, device=rgb.device)
    white = torch.tensor(_WHITE, dtype=rgb.dtype, device=rgb.device).view(3, 1, 1)
    t = torch.einsum("kc,bchw->bkhw", matrix, linear) / white
    f = torch.where(t > (6 / 29) ** 3, t.clamp(min=1e-9) ** (1 / 3), t * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = f.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


def delta_e(lab1: Tensor, lab2: Tensor) -> Tensor:
    """CIEDE2000 between two of CIELAB, `[B, 3, …]` -> `[B, …]`, with kL = kC = kH = 1; 1 is just noticeable."""
    (l1, a1, b1), (l2, a2, b2) = lab1.unbind(1), lab2.unbind(1)
    c7 = ((torch.hypot(a1, b1) + torch.hypot(a2, b2)) / 2) ** 7
    g = 1.5 - 0.5 * torch.sqrt(c7 / (c7 + _KNEE))  # 1 + G, eq. 4
    a1, a2 = g * a1, g * a2
    c1, c2 = torch.hypot(a1, b1), torch.hypot(a2, b2)
    h1, h2 = torch.atan2(b1, a1) % math.tau, torch.atan2(b2, a2) % math.tau  # eq. 7

    gray = c1 * c2 == 0
    turn = h2 - h1
    turn = turn - math.tau * (turn > math.pi) + math.tau * (turn < -math.pi)  # eq. 10
    turn = torch.where(gray, 0.0, turn)
    d_l, d_c, d_h = l2 - l1, c2 - c1, 2 * torch.sqrt(c1 * c2) * torch.sin(turn / 2)  # eq. 8, 9, 11

    light, chroma, both = (l1 + l2) / 2, (c1 + c2) / 2, h1 + h2
    apart = ((h1 - h2).abs() > math.pi) & ~gray
    both = both + math.tau * apart * torch.where(both < math.tau, 1.0, -1.0)
    hue = torch.where(gray, both, both / 2)  # eq. 14
    t = (
        1
        - 0.17 * torch.cos(hue - math.radians(30))
        + 0.24 * torch.cos(2 * hue)
        + 0.32 * torch.cos(3 * hue + math.radians(6))
        - 0.20 * torch.cos(4 * hue - math.radians(63))
    )  # eq. 15
    blue = math.radians(60) * torch.exp(-(((torch.rad2deg(hue) - 275) / 25) ** 2))  # 2·Δθ, eq. 16
    c7 = chroma**7
    rotation = -2 * torch.sqrt(c7 / (c7 + _KNEE)) * torch.sin(blue)  # eq. 17, 21
    s_l = 1 + 0.015 * (light - 50) ** 2 / torch.sqrt(20 + (light - 50) ** 2)  # eq. 18
    s_c, s_h = 1 + 0.045 * chroma, 1 + 0.015 * chroma * t  # eq. 19, 20
    l_, c_, h_ = d_l / s_l, d_c / s_c, d_h / s_h
    return torch.sqrt((l_**2 + c_**2 + h_**2 + rotation * c_ * h_).clamp(min=0))  # eq. 22


def color_shift(sr: Tensor, hr: Tensor) -> Tensor:
    """Mean CIEDE2000 over the pixels of each image: two sRGB `[B, 3, H, W]` in 0…1 -> float64 `[B]`; 0 for equal."""
    pairs = zip(sr, hr, strict=True)  # one by one: the formula keeps some thirty maps at a time
    return torch.stack([delta_e(lab(x[None]), lab(y[None])).mean() for x, y in pairs])


class ColorShift:
    """Mean ΔE 2000 of the whole 8-bit picture, its border too: a wrong border shows. One channel has no colour: nan."""

    unit = "ΔE"
    better: Literal["higher", "lower"] = "lower"

    def __call__(self, seen: MetricInput) -> Tensor:
        """`[B]`, 0 or more, or nan."""
        if seen.sr.shape[1] != 3:
            return torch.full((len(seen.sr),), torch.nan, dtype=torch.float64, device=seen.sr.device)
        return color_shift(seen.sr, seen.hr)
