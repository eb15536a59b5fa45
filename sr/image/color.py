"""Conversions between color spaces, each defined here only. All work on `[..., C, H, W]`.

`rgb_to_luma` and `rgb_to_ycbcr` are BT.601 studio range as in MATLAB's `rgb2ycbcr` (Y 16…235), the luma of SR papers.
`rgb_to_gray` is the full-range grayscale of JPEG and of the classic tutorial (0…255): PSNR is 1.32 dB lower in it for the
same image.
"""

import torch
from torch import Tensor

from sr.image.levels import WHITE

GRAY_WEIGHTS = (0.2989, 0.5870, 0.1140)

# MATLAB's rgb2ycbcr: rows Y, Cb, Cr for RGB in 0…1, result in 8-bit levels.
YCBCR_MATRIX = ((65.481, 128.553, 24.966), (-37.797, -74.203, 112.0), (112.0, -93.786, -18.214))
YCBCR_OFFSET = (16.0, 128.0, 128.0)
RGB_MATRIX = tuple(map(tuple, torch.linalg.inv(torch.tensor(YCBCR_MATRIX, dtype=torch.float64)).tolist()))


def rgb_to_luma(rgb: Tensor) -> Tensor:
    """Convert float RGB in 0…1, `[..., 3, H, W]`, to BT.601 luma `[..., 1, H, W]` in 16/255…235/255, unrounded."""
    return (_multiply(_to_tensor(YCBCR_MATRIX[:1], rgb), rgb) + YCBCR_OFFSET[0]) / 255


def rgb_to_ycbcr(rgb: Tensor) -> Tensor:
    """Convert float RGB in 0…1, `[..., 3, H, W]`, to BT.601 Y'CbCr in 0…1, unrounded."""
    return (_multiply(_to_tensor(YCBCR_MATRIX, rgb), rgb) + _to_tensor(YCBCR_OFFSET, rgb)[:, None, None]) / 255


def ycbcr_to_rgb(ycbcr: Tensor) -> Tensor:
    """Invert `rgb_to_ycbcr`; the result may leave 0…1 where the input is out of gamut."""
    return _multiply(_to_tensor(RGB_MATRIX, ycbcr), ycbcr * 255 - _to_tensor(YCBCR_OFFSET, ycbcr)[:, None, None])


def rgb_to_gray(rgb: Tensor) -> Tensor:
    """Convert RGB `[..., 3, H, W]` to full-range gray `[..., 1, H, W]`; return gray as it is.

    uint8 and uint16 are rounded to the same; float stays float, in the same range.
    """
    if rgb.shape[-3] == 1:
        return rgb
    if rgb.is_floating_point():
        return _multiply(_to_tensor((GRAY_WEIGHTS,), rgb), rgb)
    levels = rgb.float()
    return (_multiply(_to_tensor((GRAY_WEIGHTS,), levels), levels) + 0.5).clamp(0, WHITE[rgb.dtype]).to(rgb.dtype)


def _to_tensor(values: tuple, like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device)


def _multiply(matrix: Tensor, image: Tensor) -> Tensor:
    """Multiply each pixel of `image` `[..., C, H, W]` by `matrix` `[K, C]`: -> `[..., K, H, W]`."""
    with torch.autocast(image.device.type, enabled=False):  # a conversion is never computed in mixed precision
        return torch.einsum("kc,...chw->...khw", matrix, image)
