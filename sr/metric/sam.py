"""`metric/also=[sam]`: spectral angle mapper, the angle between the spectra of a pixel in the result and in HR.

Yuhas, Goetz and Boardman, "Discrimination among semi-arid landscape endmembers using the spectral angle mapper (SAM)
algorithm", 1992. The angle does not change if all bands of a pixel are multiplied by one factor: it measures color, not
brightness.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from sr.image.batch import MetricInput
from sr.metric.metric import Metric
from sr.metric.spectral import find_offset, select_spectra


def measure_spectral_angles(sr: Tensor, hr: Tensor) -> Tensor:
    """Return the angle between the spectra of each pixel in degrees, 0…180: two `[B, C, H, W]` -> float64 `[B, H, W]`.

    A pixel of which one spectrum is zero in all bands has none: nan.
    """
    x, y = sr.double(), hr.double()
    # Half the angle from the chord of the normalized spectra: acos of the product loses all digits of a small angle.
    x, y = (spectra / torch.linalg.vector_norm(spectra, dim=1, keepdim=True) for spectra in (x, y))
    chord, total = torch.linalg.vector_norm(x - y, dim=1), torch.linalg.vector_norm(x + y, dim=1)
    return torch.rad2deg(2 * torch.atan2(chord, total))


class SAM(Metric):
    """The mean spectral angle of an image in degrees, of its values: `range` are those that stand for 0 and 1.

    An image of one band has no angle: nan. Pixels without data are left out.
    """

    unit = "°"
    better: Literal["higher", "lower"] = "lower"
    takes_mask = True

    def __init__(self, range: Sequence[float] | None = None) -> None:
        self.offset = find_offset(range)

    def __call__(self, images: MetricInput) -> Tensor:
        """Return `[B]`, 0…180, or nan."""
        sr, hr = select_spectra(images)
        if sr.shape[1] == 1:
            return torch.full((len(sr),), torch.nan, dtype=torch.float64, device=sr.device)
        angles = measure_spectral_angles(sr + self.offset, hr + self.offset)
        if images.valid is not None:
            angles = torch.where(images.valid[:, 0], angles, torch.nan)
        return angles.nanmean(dim=(1, 2))
