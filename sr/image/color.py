"""The only copy of each colour conversion. All work on `[..., C, H, W]`.

`luma` and `YCbCr` are BT.601 studio range as in MATLAB's `rgb2ycbcr` (Y 16…235), the luma of SR papers.
`gray` is the full-range grayscale of JPEG and of the classic tutorial (0…255): 1.32 dB lower for the same picture.
"""

import torch
from torch import Tensor

GRAY = (0.2989, 0.5870, 0.1140)

# MATLAB's rgb2ycbcr: rows Y, Cb, Cr for RGB in 0…1, result in 8-bit levels.
_YCBCR = ((65.481, 128.553, 24.966), (-37.797, -74.203, 112.0), (112.0, -93.786, -18.214))
_OFFSET = (16.0, 128.0, 128.0)


def _mix(image: Tensor, rows: tuple[tuple[float, ...], ...]) -> Tensor:
    weight = torch.tensor(rows, dtype=image.dtype, device=image.device)
    return _einsum(weight, image)


def _einsum(weight: Tensor, image: Tensor) -> Tensor:
    with torch.autocast(image.device.type, enabled=False):  # mixed precision must not reach a conversion
        return torch.einsum("kc,...chw->...khw", weight, image)


def rgb_to_luma(rgb: Tensor) -> Tensor:
    """Y' of BT.601 for float RGB in 0…1, `[..., 3, H, W]` -> `[..., 1, H, W]`, in 0…1 (16/255 … 235/255), unrounded."""
    return (_mix(rgb, _YCBCR[:1]) + _OFFSET[0]) / 255


def rgb_to_ycbcr(rgb: Tensor) -> Tensor:
    """BT.601 Y'CbCr of float RGB in 0…1, `[..., 3, H, W]`, in 0…1, unrounded."""
    offset = torch.tensor(_OFFSET, dtype=rgb.dtype, device=rgb.device)[:, None, None]
    return (_mix(rgb, _YCBCR) + offset) / 255


def ycbcr_to_rgb(ycbcr: Tensor) -> Tensor:
    """The inverse of `rgb_to_ycbcr`; may leave 0…1 where the input is out of gamut."""
    inverse = torch.linalg.inv(torch.tensor(_YCBCR, dtype=torch.float64)).to(ycbcr)
    offset = torch.tensor(_OFFSET, dtype=ycbcr.dtype, device=ycbcr.device)[:, None, None]
    return _einsum(inverse, ycbcr * 255 - offset)


def rgb_to_gray(rgb: Tensor) -> Tensor:
    """Return full-range grayscale: `[..., 3, H, W]` -> `[..., 1, H, W]`; one channel is returned as it is.

    uint8 is rounded and stays uint8; float stays float, unrounded.
    """
    if rgb.shape[-3] == 1:
        return rgb
    if rgb.is_floating_point():
        return _mix(rgb, (GRAY,))
    return (_mix(rgb.float(), (GRAY,)) + 0.5).clamp(0, 255).to(torch.uint8)
