"""Do two pictures show the same photograph? Decided on pixels: one is laid over the other, and details must agree."""

from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.fft import irfft2, rfft2
from scipy.ndimage import gaussian_filter

from sr.inspection.windows import Guess

SURE = 0.4  # correlation of details. Of 10,750 pairs of different photographs 0.20 at most; see the tests
LEAST = 16  # pixels of the small copies that the shorter side of what is shared must have


class Pass(NamedTuple):
    """One round of fitting: coarse ones search, the last one judges."""

    side: int  # pixels: √area of what is shared, when it is compared
    zoom: float  # the guessed enlargement is varied by ± this …
    steps: int  # … in so many steps to each side
    margin: float  # of the side: how far the place is searched around the guess
    detail: float  # σ in pixels: only what is finer is compared; 0: everything
    least: float  # correlation that leads on to the next round


PASSES = (
    Pass(48, 0.08, 4, 0.12, 0, 0.5),
    Pass(96, 0.025, 5, 0.06, 3, 0.2),
    Pass(128, 0.006, 6, 0.04, 3, 0.3),
    Pass(160, 0.0015, 3, 0.03, 4, 0.0),
)


class Registration(NamedTuple):
    """`other = zoom · asked + offset`, in pixels of the small copies; `asked` mirrored first, where it is."""

    likeness: float  # correlation of details, −1…1
    zoom: float
    offset: np.ndarray  # x, y
    mirrored: bool


def same_photograph(
    asked: Image.Image, mirror: Image.Image, other: Image.Image, guesses: list[Guess]
) -> Registration | None:
    """The best fit over all guesses, or None when they show different things. `mirror` is `asked` mirrored."""
    best = None
    for guess in guesses:
        fit = _fit(mirror if guess.mirrored else asked, other, guess)
        if fit is not None and (best is None or fit.likeness > best.likeness):
            best = fit
        if best is not None and best.likeness > 2 * SURE:
            break
    return best if best is not None and best.likeness >= SURE else None


def shared(size: tuple[int, int], other: tuple[int, int], zoom: float, offset: np.ndarray) -> np.ndarray | None:
    """What both show, as left, top, right, bottom in `other`; None when it is too little."""
    low = np.maximum(0, offset)
    high = np.minimum(other, np.array(size) * zoom + offset)
    return np.concatenate([low, high]) if min(high - low) >= LEAST else None


def _fit(image: Image.Image, other: Image.Image, guess: Guess) -> Registration | None:
    extent = (guess.other[2:] - guess.other[:2]) / (guess.box[2:] - guess.box[:2])
    zoom = float(np.sqrt(extent.prod()))
    offset = (guess.other[:2] + guess.other[2:]) / 2 - zoom * (guess.box[:2] + guess.box[2:]) / 2
    fit = Registration(-1.0, zoom, offset, guess.mirrored)
    for rule in PASSES:
        tried = [
            _place(image, other, fit, 1 + rule.zoom * k / rule.steps, rule) for k in range(-rule.steps, rule.steps + 1)
        ]
        tried = [t for t in tried if t is not None]
        if not tried:
            return None
        fit = max(tried, key=lambda t: t.likeness)
        if fit.likeness < rule.least:
            return None
    return fit


def _place(
    image: Image.Image, other: Image.Image, guess: Registration, factor: float, rule: Pass
) -> Registration | None:
    """The best place for `image`, enlarged by `factor` more than guessed; it turns about the middle of what is shared."""
    middle = shared(image.size, other.size, guess.zoom, guess.offset)
    if middle is None:
        return None
    centre = (middle[:2] + middle[2:]) / 2
    zoom, offset = guess.zoom * factor, centre + (guess.offset - centre) * factor
    box = shared(image.size, other.size, zoom, offset)
    if box is None:
        return None
    extent = box[2:] - box[:2]
    grid = np.maximum(12, np.rint(extent * rule.side / np.sqrt(extent.prod()))).astype(int)
    rim = np.maximum(1, np.rint(grid * rule.margin)).astype(int)
    pixel = extent / grid  # of the comparison, in pixels of `other`
    inner = np.concatenate([box[:2] + rim * pixel, box[2:] - rim * pixel])
    part = (inner - np.tile(offset, 2)) / zoom
    part = np.clip(part, 0, np.tile(image.size, 2))
    field = _details(other, box, grid, rule.detail)
    piece = _details(image, part, grid - 2 * rim, rule.detail)
    if piece.std() < 0.5 or field.std() < 0.5:
        return None
    answer = correlation(field, piece)
    row, column = np.unravel_index(answer.argmax(), answer.shape)
    moved = (_peak(answer, row, column) - rim) * pixel
    return Registration(float(answer[row, column]), zoom, offset + moved, guess.mirrored)


def _details(image: Image.Image, box: np.ndarray, grid: np.ndarray, sigma: float) -> np.ndarray:
    """The part in `box` as float `[grid y, grid x]`, less its blurred self."""
    pixels = np.asarray(image.resize(tuple(map(int, grid)), Image.Resampling.BICUBIC, box=tuple(box)), dtype=np.float32)
    return pixels - gaussian_filter(pixels, sigma) if sigma else pixels


def correlation(field: np.ndarray, piece: np.ndarray) -> np.ndarray:
    """Pearson's correlation of `piece` `[h, w]` with every place in `field` `[H, W]`: `[H − h + 1, W − w + 1]`.

    As `skimage.feature.match_template`, which pads the field on all sides and takes three times as long.
    """
    (big_h, big_w), (h, w) = field.shape, piece.shape
    rows, columns = big_h - h + 1, big_w - w + 1
    field, piece = field.astype(np.float64), piece - piece.mean(dtype=np.float64)
    product = irfft2(rfft2(field) * rfft2(piece, field.shape).conj(), field.shape)[:rows, :columns]
    sums = []
    for power in (field, field * field):
        total = np.zeros((big_h + 1, big_w + 1))
        total[1:, 1:] = power.cumsum(0).cumsum(1)
        sums.append(total[h:, w:] - total[:-h, w:] - total[h:, :-w] + total[:-h, :-w])
    energy = np.maximum(sums[1] - sums[0] ** 2 / (h * w), 1e-6 * h * w) * (piece**2).sum()
    return product / np.sqrt(energy)


def _peak(answer: np.ndarray, row: int, column: int) -> np.ndarray:
    """(x, y) of the maximum, between pixels, by a parabola through its neighbours."""
    place = []
    for line, at in ((answer[row], column), (answer[:, column], row)):
        if 0 < at < len(line) - 1:
            a, b, c = line[at - 1 : at + 2]
            bend = a - 2 * b + c
            place.append(at + (0.5 * (a - c) / bend if bend < 0 else 0.0))
        else:
            place.append(float(at))
    return np.array(place)
