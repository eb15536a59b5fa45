"""Compare two groups of runs on the images of one set: the difference, its interval and the tests."""

import math

import numpy as np

from sr.comparison.bootstrap import LEVEL, bootstrap_images, bootstrap_seeds_and_images
from sr.comparison.verdict import PairResult

DIGITS = 9  # differences are rounded to so many significant digits of the values: below is floating-point noise


def compare_groups(
    a: np.ndarray,
    b: np.ndarray,
    higher_is_better: bool = True,
    deterministic: tuple[bool, bool] = (False, False),
) -> PairResult:
    """Return how group a differs from group b in one metric on one set.

    Args:
        a: `[seeds, images]`, the metric of each run of the group on each image; `[images]` for one run.
        b: the same of the other group, on the same images in the same order; the number of seeds may differ.
        higher_is_better: False for distances, such as LPIPS.
        deterministic: of a and of b, whether there is no seed (bicubic, a published weight file): its one row is then
            the method itself.

    An image on which a value is missing (NaN) or infinite (the PSNR of a result equal to HR) is left out and counted.
    With several seeds in a group, the interval contains both that of `bootstrap_seeds_and_images` and Student's of the
    same two levels, and `p` is the larger of Wilcoxon's over the images and Student's over seeds and images.
    """
    a, b = np.atleast_2d(np.asarray(a, float)), np.atleast_2d(np.asarray(b, float))
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(f"expected [seeds, images] of the same images (found {a.shape} and {b.shape})")
    is_finite = np.isfinite(a).all(axis=0) & np.isfinite(b).all(axis=0)
    a, b = a[:, is_finite], b[:, is_finite]
    sign = 1.0 if higher_is_better else -1.0
    a, b = sign * a, sign * b
    differences = _round_noise(a.mean(axis=0) - b.mean(axis=0), max(np.abs(a).max(initial=0), np.abs(b).max(initial=0)))
    difference = float(differences.mean()) if len(differences) else math.nan
    has_seeds = max(len(a), len(b)) > 1
    p_images = _test_images(differences)
    p_seeds, student = _test_seeds(a, b, difference) if has_seeds and len(differences) > 1 else (None, None)
    return PairResult(
        difference=difference,
        raw_difference=sign * difference,
        interval=_find_interval(a, b, differences, student),
        images=len(differences),
        left_out=int((~is_finite).sum()),
        seeds=(len(a), len(b)),
        deterministic=deterministic,
        p_images=p_images,
        p_seeds=p_seeds,
        p=max(p_images, p_seeds or 0.0),
        effect_size=_measure_effect(differences),
        wins=int((differences > 0).sum()),
        losses=int((differences < 0).sum()),
    )


def _round_noise(differences: np.ndarray, largest: float) -> np.ndarray:
    """Round to DIGITS digits of the largest value, so that equal differences are equal, and 0 is 0."""
    return np.round(differences, DIGITS - math.ceil(math.log10(largest))) if largest > 0 else differences


def _find_interval(
    a: np.ndarray, b: np.ndarray, differences: np.ndarray, student: tuple[float, float] | None
) -> tuple[float, float] | None:
    if len(differences) < 2:
        return None
    if student is None:
        return bootstrap_images(differences)
    low, high = bootstrap_seeds_and_images(a, b)
    return min(low, student[0]), max(high, student[1])


def _test_images(differences: np.ndarray) -> float:
    """Return p of the Wilcoxon signed-rank test: exact up to 50 images, with ties or zeros up to 13."""
    from scipy import stats

    differences = differences[differences != 0]
    return float(stats.wilcoxon(differences).pvalue) if len(differences) else 1.0


def _test_seeds(a: np.ndarray, b: np.ndarray, difference: float) -> tuple[float, tuple[float, float]]:
    """Return p and the 95 % interval of Student's t over seeds and images, with Welch-Satterthwaite degrees of freedom.

    The variance of the difference is the sum of what the seeds of a, the seeds of b and the images contribute. The
    rest (see `Spread`) is in two of the terms, so that the test rather errs on the side of no difference.
    """
    from scipy import stats

    images = a.shape[1]
    terms = [(np.var(a.mean(axis=0) - b.mean(axis=0), ddof=1) / images, images - 1)]
    terms += [(np.var(g.mean(axis=1), ddof=1) / len(g), len(g) - 1) for g in (a, b) if len(g) > 1]
    variance = float(sum(term for term, _ in terms))
    if variance == 0:
        return float(difference == 0), (difference, difference)
    freedom = variance**2 / sum(term**2 / count for term, count in terms)
    error = math.sqrt(variance)
    width = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * error
    return float(2 * stats.t.sf(abs(difference) / error, freedom)), (difference - width, difference + width)


def _measure_effect(differences: np.ndarray) -> float:
    """Return the rank-biserial correlation of pairs: −1 (worse on all images) … 1 (better on all)."""
    from scipy import stats

    differences = differences[differences != 0]
    if not len(differences):
        return 0.0
    ranks = stats.rankdata(np.abs(differences))
    return float((ranks * np.sign(differences)).sum() / ranks.sum())
