"""Decide from the pixels whether two images show the same photograph: register one on the other and correlate details."""

from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.fft import irfft2, rfft2
from scipy.ndimage import gaussian_filter

from sr.inspection.windows import WindowMatch

MIN_CORRELATION = 0.4  # of details. Of 10,750 pairs of different photographs 0.20 at most; see the tests
MIN_OVERLAP_SIDE = 16  # pixels, in the small copies, of the shorter side of the common part


class SearchPass(NamedTuple):
    """One pass of the search for the best fit; each is more precise than the one before, and the last one decides."""

    side: int  # pixels: √area of the common part at which it is compared
    zoom: float  # the estimated zoom is varied by ± this …
    steps: int  # … in so many steps to each side
    margin: float  # of the side: how far around the estimate the position is searched
    detail: float  # σ in pixels: only finer structure is compared; 0: everything
    min_correlation: float  # below it the search ends


PASSES = (
    SearchPass(48, 0.08, 4, 0.12, 0, 0.5),
    SearchPass(96, 0.025, 5, 0.06, 3, 0.2),
    SearchPass(128, 0.006, 6, 0.04, 3, 0.3),
    SearchPass(160, 0.0015, 3, 0.03, 4, 0.0),
)


class Registration(NamedTuple):
    """The mapping `other = zoom · query + offset`, in pixels of the small copies; if `mirrored`, of the mirrored query."""

    likeness: float  # correlation of details, −1…1
    zoom: float
    offset: np.ndarray  # x, y
    mirrored: bool


def register_photographs(
    query: Image.Image, mirror: Image.Image, other: Image.Image, candidates: list[WindowMatch]
) -> Registration | None:
    """Return the best fit over all candidates; None if the images show different photographs. `mirror` is `query` mirrored."""
    best = None
    for candidate in candidates:
        fit = _refine(mirror if candidate.mirrored else query, other, candidate)
        if fit is not None and (best is None or fit.likeness > best.likeness):
            best = fit
        if best is not None and best.likeness > 2 * MIN_CORRELATION:
            break
    return best if best is not None and best.likeness >= MIN_CORRELATION else None


def find_overlap(size: tuple[int, int], other: tuple[int, int], zoom: float, offset: np.ndarray) -> np.ndarray | None:
    """Return the common part of two images as left, top, right, bottom in `other`; None if it is too small."""
    low = np.maximum(0, offset)
    high = np.minimum(other, np.array(size) * zoom + offset)
    return np.concatenate([low, high]) if min(high - low) >= MIN_OVERLAP_SIDE else None


def _refine(image: Image.Image, other: Image.Image, candidate: WindowMatch) -> Registration | None:
    """Refine the mapping that a pair of windows suggests, in all passes; None if the images do not fit."""
    extent = (candidate.other[2:] - candidate.other[:2]) / (candidate.box[2:] - candidate.box[:2])
    zoom = float(np.sqrt(extent.prod()))
    offset = (candidate.other[:2] + candidate.other[2:]) / 2 - zoom * (candidate.box[:2] + candidate.box[2:]) / 2
    fit = Registration(-1.0, zoom, offset, candidate.mirrored)
    for search in PASSES:
        factors = (1 + search.zoom * k / search.steps for k in range(-search.steps, search.steps + 1))
        fits = [f for factor in factors if (f := _fit_position(image, other, fit, factor, search)) is not None]
        if not fits:
            return None
        fit = max(fits, key=lambda f: f.likeness)
        if fit.likeness < search.min_correlation:
            return None
    return fit


def _fit_position(
    image: Image.Image, other: Image.Image, estimate: Registration, factor: float, search: SearchPass
) -> Registration | None:
    """Return the best position of `image` at `factor` times the estimated zoom, about the center of the common part."""
    # The common part at the changed zoom.
    overlap = find_overlap(image.size, other.size, estimate.zoom, estimate.offset)
    if overlap is None:
        return None
    center = (overlap[:2] + overlap[2:]) / 2
    zoom, offset = estimate.zoom * factor, center + (estimate.offset - center) * factor
    box = find_overlap(image.size, other.size, zoom, offset)
    if box is None:
        return None
    # Both images at the size of this pass; `image` is smaller by the margin in which its position is searched.
    extent = box[2:] - box[:2]
    grid = np.maximum(12, np.rint(extent * search.side / np.sqrt(extent.prod()))).astype(int)
    margin = np.maximum(1, np.rint(grid * search.margin)).astype(int)
    pixel = extent / grid  # of the comparison, in pixels of `other`
    inner = np.concatenate([box[:2] + margin * pixel, box[2:] - margin * pixel])
    part = np.clip((inner - np.tile(offset, 2)) / zoom, 0, np.tile(image.size, 2))
    field = _extract_details(other, box, grid, search.detail)
    piece = _extract_details(image, part, grid - 2 * margin, search.detail)
    if piece.std() < 0.5 or field.std() < 0.5:
        return None
    # The position of the largest correlation.
    scores = correlate(field, piece)
    row, column = np.unravel_index(scores.argmax(), scores.shape)
    moved = (_interpolate_peak(scores, row, column) - margin) * pixel
    return Registration(float(scores[row, column]), zoom, offset + moved, estimate.mirrored)


def _extract_details(image: Image.Image, box: np.ndarray, grid: np.ndarray, sigma: float) -> np.ndarray:
    """Resize the part in `box` to float `[grid y, grid x]`, and subtract its blurred version."""
    pixels = np.asarray(image.resize(tuple(map(int, grid)), Image.Resampling.BICUBIC, box=tuple(box)), dtype=np.float32)
    return pixels - gaussian_filter(pixels, sigma) if sigma else pixels


def correlate(field: np.ndarray, piece: np.ndarray) -> np.ndarray:
    """Compute Pearson's correlation of `piece` `[h, w]` with every place in `field` `[H, W]`: `[H − h + 1, W − w + 1]`.

    The same as `skimage.feature.match_template`, which pads the field on all sides and takes three times as long.
    """
    (field_h, field_w), (h, w) = field.shape, piece.shape
    rows, columns = field_h - h + 1, field_w - w + 1
    field, piece = field.astype(np.float64), piece - piece.mean(dtype=np.float64)
    product = irfft2(rfft2(field) * rfft2(piece, field.shape).conj(), field.shape)[:rows, :columns]
    sums = []
    for power in (field, field * field):
        total = np.zeros((field_h + 1, field_w + 1))
        total[1:, 1:] = power.cumsum(0).cumsum(1)
        sums.append(total[h:, w:] - total[:-h, w:] - total[h:, :-w] + total[:-h, :-w])
    energy = np.maximum(sums[1] - sums[0] ** 2 / (h * w), 1e-6 * h * w) * (piece**2).sum()
    return product / np.sqrt(energy)


def _interpolate_peak(scores: np.ndarray, row: int, column: int) -> np.ndarray:
    """Return (x, y) of the maximum between pixels, from a parabola through its neighbors."""
    position = []
    for line, index in ((scores[row], column), (scores[:, column], row)):
        if 0 < index < len(line) - 1:
            a, b, c = line[index - 1 : index + 2]
            curvature = a - 2 * b + c
            position.append(index + (0.5 * (a - c) / curvature if curvature < 0 else 0.0))
        else:
            position.append(float(index))
    return np.array(position)
