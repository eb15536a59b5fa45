"""Compute a net's receptive field from its layers.

The receptive field is the side, in LR pixels, of the square around one LR pixel outside of which nothing influences the
s×s outputs of that pixel. It is odd: it has the same number of pixels on each side, the larger one where they differ.
"""

import math


def compute_receptive_field(reach: int, *upsampled: tuple[int, int]) -> int:
    """Return the receptive field of a net that works at LR size and upsamples at its end.

    `reach` is the number of pixels that the layers at LR size see to each side (a 3×3 convolution 1, a 9×9 one 4). Each
    pair of `upsampled` is an upsampling factor and the reach of the layers that follow it, in *their* pixels.
    """
    reach_above = 0
    for factor, own_reach in reversed(upsampled):
        reach_above = math.ceil((reach_above + own_reach) / factor)
    return 2 * (reach + reach_above) + 1


def compute_receptive_field_over_bicubic(scale: int, reach: int) -> int:
    """Return the receptive field of layers that see `reach` HR pixels to each side of what `imresize` upscaled.

    Keys' kernel ends two LR pixels from its center, which for HR pixel i lies at (i + 1/2)/s - 1/2: so the farthest
    pixel that it uses is ceil((reach - 1/2)/s + 5/2) - 1 away.
    """
    return 2 * ((2 * reach + 5 * scale - 2) // (2 * scale)) + 1
