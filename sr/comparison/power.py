"""Estimate how many images or seeds a difference needs to be found, from the spread of the runs that there are."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from sr.comparison.spread import Spread, measure_spread
from sr.comparison.verdict import ALPHA, count_images

GOAL = 0.8  # the usual power that a study is planned for
WILCOXON_EFFICIENCY = 3 / math.pi  # of normally distributed differences, against Student's t
MAX_IMAGES = 1_000_000
MAX_SEEDS = 1_000


@dataclass(frozen=True)
class PowerEstimate:
    """The probability that a true difference is found, and the images or seeds that make it 80 %."""

    difference: float  # in the metric's unit, above 0
    power: float  # probability of the verdict "better" with the images and seeds that there are
    images: int
    seeds: tuple[int, int]
    images_needed: int | None  # with the same seeds; None: no number of images is enough
    seeds_needed: int | None  # in each group, with the same images; None: no number is enough, or there is one seed
    both_needed: tuple[int, int] | None  # seeds and images, in the present proportion, if neither alone is enough
    image_spread: float  # standard deviations: of the difference between images,
    seed_spread: float  # and of the mean between seeds, the larger of both groups


def estimate_power(a: np.ndarray, b: np.ndarray, difference: float, pairs: int = 1) -> PowerEstimate:
    """Return the power of `compare_groups` for a true difference in the metric's unit.

    Args:
        a: `[seeds, images]`, one group; `[images]` for one run. At least two images on which all values are finite.
        b: the other group, on the same images.
        difference: the difference in the metric's unit that is to be found, above 0.
        pairs: in the table, which Holm's correction is for.
    """
    a, b = np.atleast_2d(np.asarray(a, float)), np.atleast_2d(np.asarray(b, float))
    is_finite = np.isfinite(a).all(axis=0) & np.isfinite(b).all(axis=0)
    a, b = a[:, is_finite], b[:, is_finite]
    images, seeds = a.shape[1], (len(a), len(b))
    spread = measure_spread(a, b)

    def predict(count: int, per_group: int | None = None) -> float:
        counts = seeds if per_group is None else tuple(per_group if there > 1 else 1 for there in seeds)
        return predict_power(spread, difference, count, counts, pairs)

    def scale_images(per_group: int) -> int:
        return math.ceil(images * per_group / max(seeds))

    has_seeds = max(seeds) > 1
    images_needed = _find_least(predict, count_images(pairs), MAX_IMAGES)
    seeds_needed = _find_least(lambda count: predict(images, count), 2, MAX_SEEDS) if has_seeds else None
    both = None
    if has_seeds and images_needed is None and seeds_needed is None:
        both = _find_least(lambda count: predict(scale_images(count), count), 2, MAX_SEEDS)
    return PowerEstimate(
        difference=difference,
        power=predict(images),
        images=images,
        seeds=seeds,
        images_needed=images_needed,
        seeds_needed=seeds_needed,
        both_needed=(both, scale_images(both)) if both else None,
        image_spread=math.sqrt(spread.images),
        seed_spread=math.sqrt(max(spread.seeds)),
    )


def predict_power(spread: Spread, difference: float, images: int, seeds: tuple[int, int], pairs: int = 1) -> float:
    """Return the probability that `compare_groups` finds a true difference, 0…1, for normally distributed values.

    The mean over the variances that a study of this size may measure: with three seeds they, and with them the degrees of
    freedom, vary so much that the true variance alone would promise 7 points too much.
    """
    from scipy.special import gammaincinv, ndtr, stdtrit  # without the overhead of scipy.stats

    if images < count_images(pairs):
        return 0.0
    rest = [r / count for r, count in zip(spread.rest, seeds, strict=True)]
    terms = [(spread.images + sum(rest)) / images / WILCOXON_EFFICIENCY]
    freedoms = [images - 1]
    for between, remaining, count in zip(spread.seeds, rest, seeds, strict=True):
        if count > 1:
            terms.append(between / count + remaining / images)
            freedoms.append(count - 1)
    if sum(terms) == 0:
        return 1.0
    deviation = math.sqrt(sum(terms) - (sum(rest) / images if len(terms) > 1 else 0.0))  # `rest` is in two terms
    measured = [
        term * 2 * gammaincinv(f / 2, u) / f for term, u, f in zip(terms, _spread_evenly(), freedoms, strict=False)
    ]
    total = sum(measured)
    freedom = total**2 / sum(variance**2 / f for variance, f in zip(measured, freedoms, strict=True))
    critical = -stdtrit(freedom, ALPHA / pairs / 2) * np.sqrt(total)
    return float(ndtr((difference - critical) / deviation).mean())


@cache
def _spread_evenly() -> np.ndarray:
    """Return points that fill the unit cube, `[3, 1024]`."""
    from scipy.stats import qmc

    return qmc.Sobol(3, scramble=False).random(1024).T + 0.5 / 1024


def _find_least(predict: Callable[[int], float], least: int, most: int) -> int | None:
    """Return the smallest count with a power of GOAL, or None."""
    if predict(most) < GOAL:
        return None
    while least < most:
        middle = math.isqrt(least * most)  # power depends on ratios
        if predict(middle) >= GOAL:
            most = middle
        else:
            least = middle + 1
    return most


def describe_power(estimate: PowerEstimate, unit: str = "", digits: int = 2) -> str:
    """Return the answers in words: the power now, the images needed and the seeds needed."""
    unit = f" {unit}" if unit else ""
    now = f"a difference of {estimate.difference:g}{unit} is found with a probability of {estimate.power:.0%}"
    spread = f"{estimate.seed_spread:.{digits}f}{unit}"
    if estimate.images_needed is None:
        images = f"no number of images alone, because the seeds vary by {spread} (standard deviation)"
    else:
        images = f"{_format_need(estimate.images_needed, estimate.images)} images with the same seeds"
    if max(estimate.seeds) == 1:
        seeds = "; one seed says nothing of the spread between seeds"
    elif estimate.seeds_needed is not None:
        seeds = f", or {_format_need(estimate.seeds_needed, max(estimate.seeds))} seeds on the same images"
    else:
        between = f"{estimate.image_spread:.{digits}f}{unit}"
        seeds = f", and no number of seeds alone, because the difference varies by {between} between images"
    if estimate.both_needed:
        seeds += "; together {:,} seeds on {:,} images".format(*estimate.both_needed)
    return f"{now}; {GOAL:.0%} need {images}{seeds}"


def _format_need(needed: int, there: int) -> str:
    return f"{needed:,} (now {there:,})"
