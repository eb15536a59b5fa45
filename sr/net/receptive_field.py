"""How far a net looks: its receptive field, counted from its layers.

Here it is the side, in LR pixels, of the square around one LR pixel outside of which nothing reaches that pixel's block
of s×s outputs. It is odd, for it counts the same number of pixels to each side, the larger one where they differ.
"""

import math


def field(low: int, *finer: tuple[int, int]) -> int:
    """`low` is how many pixels to each side the layers at LR's size look (a 3×3 looks 1 far, a 9×9 looks 4).

    Each of `finer` is an enlargement and what follows it: its factor, and how far those layers look, in *their* pixels.
    """
    reach = 0
    for factor, far in reversed(finer):
        reach = math.ceil((reach + far) / factor)
    return 2 * (low + reach) + 1


def over_bicubic(scale: int, high: int) -> int:
    """Of layers that look `high` HR pixels to each side of what `imresize` enlarged.

    Keys' kernel ends two LR pixels from its centre, which for HR pixel i lies at (i + 1/2)/s - 1/2: so the farthest
    pixel that it takes is ceil((high - 1/2)/s + 5/2) - 1 away.
    """
    return 2 * ((2 * high + 5 * scale - 2) // (2 * scale)) + 1
