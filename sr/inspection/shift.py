"""Measure by how much an LR image is shifted against its HR image."""

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.ndimage import shift as shift_image
from skimage.registration import phase_cross_correlation

MIN_SHIFT = 0.1  # LR pixels; for unshifted LR of 13 kinds, 0.06 at most was measured
BORDER = 4  # LR pixels that are left out


def measure_shift(lr: np.ndarray, expected: np.ndarray) -> tuple[float, float] | None:
    """Return (rows, columns) in LR pixels by which `lr` `[h, w]` is shifted against `expected`; positive is down and right.

    The shift is estimated by phase correlation (Guizar-Sicairos et al., "Efficient subpixel image registration algorithms",
    2008), then refined by least squares on gradients (Lucas and Kanade, 1981). None if the two disagree, because the image
    has too little structure.
    """
    a, b = (gaussian_filter(image.astype(np.float64), 1) for image in (expected, lr))
    if min(a.shape) < 4 * BORDER or min(a.std(), b.std()) < 1:
        return None
    window = np.outer(np.hanning(a.shape[0]), np.hanning(a.shape[1]))
    coarse = phase_cross_correlation(
        (b - b.mean()) * window, (a - a.mean()) * window, upsample_factor=100, normalization=None
    )[0]
    refined = _refine_shift(a, b, coarse)
    if refined is None or np.abs(refined - coarse).max() > max(MIN_SHIFT, 0.5 * np.abs(coarse).max()):
        return None
    if min(np.abs(refined).max(), np.abs(coarse).max()) < MIN_SHIFT:
        return 0.0, 0.0  # not distinguishable from no shift
    return float(refined[0]), float(refined[1])


def _refine_shift(a: np.ndarray, b: np.ndarray, start: np.ndarray) -> np.ndarray | None:
    """Return the shift from `a` to `b`, searched from `start`; None if the images are too small for it."""
    shift = np.array(start, dtype=np.float64)
    edge = BORDER + int(np.ceil(np.abs(shift).max()))
    inside = np.s_[edge:-edge, edge:-edge]
    if min(a.shape) < 3 * edge:
        return None
    for _ in range(6):
        shifted = shift_image(a, shift, order=3, mode="nearest")
        slope = np.stack([g[inside].ravel() for g in np.gradient(shifted)], axis=1)
        step = np.linalg.lstsq(slope, (b - shifted)[inside].ravel(), rcond=None)[0]
        shift -= step
        if np.abs(step).max() < 1e-3:
            break
    return shift
