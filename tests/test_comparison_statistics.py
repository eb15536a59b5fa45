"""The statistics of sr.compare, against SciPy, literal numbers and simulated data."""

import numpy as np
import pytest
from scipy import stats

from sr.comparison.significance import compare_groups
from sr.comparison.verdict import describe_verdict

# PSNR in dB of 14 images and three runs each of two methods, made up.
BASE = np.array([32.1, 28.4, 25.7, 30.3, 27.9, 26.2, 33.8, 29.5, 24.9, 31.0, 28.8, 27.1, 30.9, 26.6])
STEPS = np.array([0.12, 0.08, 0.15, 0.05, 0.11, 0.19, -0.02, 0.07, 0.13, 0.09, 0.16, 0.03, 0.14, 0.10])


def repeat(values: np.ndarray, offsets: tuple[float, ...]) -> np.ndarray:
    """Return `[seeds, images]` of runs that differ by the same offset on every image."""
    return values + np.array(offsets)[:, None]


def test_one_seed_agrees_with_scipy() -> None:
    pair = compare_groups(BASE + STEPS, BASE)
    assert pair.difference == pytest.approx(0.1)
    assert pair.p == pair.p_images == pytest.approx(stats.wilcoxon(STEPS, method="exact").pvalue) == 2 / 2**13
    assert pair.p_seeds is None
    level = 1 - 2 * stats.norm.sf(stats.t.ppf(0.975, 13) * (14 / 13) ** 0.5)
    expected = stats.bootstrap((STEPS,), np.mean, n_resamples=10_000, confidence_level=level, rng=7).confidence_interval
    assert pair.interval == pytest.approx((expected.low, expected.high), abs=0.003)
    assert (pair.wins, pair.losses, pair.images) == (13, 1, 14)
    assert pair.effect_size == pytest.approx((105 - 1 - 1) / 105)  # all ranks but the smallest are positive
    assert describe_verdict(pair, "dB", "Set14") == (
        "better by 0.10 dB [0.06, 0.13] on Set14 (n = 14, 1 seed), p < 0.001; of two weight files, not of two methods"
    )
