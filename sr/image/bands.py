"""Show images of many bands: three of them as red, green and blue, with the contrast of the scene."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

LIMITS = (0.01, 0.99)  # shares of the pixels of a band that are black, and not white
MAX_PIXELS = 1 << 20  # of which these shares are computed


def show_bands(images: Sequence[Tensor], reference: Tensor) -> list[Tensor]:
    """Return images `[B, C, H, W]` of one scene, float in 0…1, for a screen: `[B, 1 or 3, H, W]` in 0…1.

    Of three bands or more the third, second and first are red, green and blue, as most satellites number them; of two the
    first is shown. Each band is stretched to the range that it has in `reference`. Pixels without data, nan, are black.
    """
    bands = [2, 1, 0] if reference.shape[1] >= 3 else [0]
    step = max(1, int((reference.shape[-1] * reference.shape[-2] / MAX_PIXELS) ** 0.5))
    samples = reference[:, bands, ::step, ::step].movedim(1, 0).flatten(1).double().cpu().numpy()  # [1 or 3, N]
    if np.isnan(samples).all():
        samples = np.zeros((len(bands), 1))
    low, high = (torch.from_numpy(limit)[:, None, None] for limit in np.nanquantile(samples, LIMITS, axis=1))
    width = (high - low).clamp(min=1e-6)
    return [((image[:, bands] - low.to(image)) / width.to(image)).nan_to_num(0).clamp(0, 1) for image in images]
