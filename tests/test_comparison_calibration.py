"""The verdicts of sr.compare on simulated data: how often they are wrong, and how often they find a difference.

The spreads are those of PSNR in dB: images 0.1 (between two methods), seeds 0.04, rest 0.05; see `sr.comparison.spread`.
"""

from collections.abc import Iterator

import numpy as np
import pytest

from sr.comparison import bootstrap
from sr.comparison.power import predict_power
from sr.comparison.significance import compare_groups
from sr.comparison.spread import measure_spread
from sr.comparison.verdict import PairResult, Verdict

pytestmark = pytest.mark.long
COUNT = 1_000
ALLOWED = 0.05 + 2 * (0.05 * 0.95 / COUNT) ** 0.5


@pytest.fixture(autouse=True)
def fewer_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the time; the ends of an interval vary more."""
    monkeypatch.setattr(bootstrap, "RESAMPLES", (1000, 1000))


def simulate(
    seeds: int, images: int, seed_spread: float, difference: float, count: int
) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
    """Yield pairs of groups, and the difference of the means of the files that were drawn."""
    generator = np.random.default_rng([seeds, images, round(1000 * seed_spread), round(1000 * difference)])
    for _ in range(count):
        offsets = generator.normal(0, seed_spread, (2, seeds, 1))
        a, b = generator.normal(28, 3, images) + offsets + generator.normal(0, 0.05, (2, seeds, images))
        yield (
            a + difference + generator.normal(0, 0.1, images),
            b,
            difference + float(offsets[0].mean() - offsets[1].mean()),
        )


def is_found(pair: PairResult) -> bool:
    return pair.verdict in {Verdict.BETTER, Verdict.WORSE}


@pytest.mark.parametrize("seed_spread", [0.0, 0.04])
@pytest.mark.parametrize("images", [14, 100])
def test_three_seeds_without_a_difference(images: int, seed_spread: float) -> None:
    wrong = [is_found(compare_groups(a, b)) for a, b, _ in simulate(3, images, seed_spread, 0.0, COUNT)]
    assert np.mean(wrong) <= ALLOWED


@pytest.mark.parametrize("seed_spread", [0.0, 0.04])
@pytest.mark.parametrize("images", [14, 100])
def test_one_seed_without_a_difference_of_the_weight_files(images: int, seed_spread: float) -> None:
    """Two files of one method differ with a spread of the seeds; their true difference is removed."""
    pairs = [compare_groups(a - true, b) for a, b, true in simulate(1, images, seed_spread, 0.0, COUNT)]
    assert np.mean([is_found(pair) for pair in pairs]) <= ALLOWED
    assert np.mean([pair.interval[0] <= 0 <= pair.interval[1] for pair in pairs]) >= 0.925  # docs: 93 to 95 %


def test_one_seed_says_nothing_of_methods() -> None:
    """docs/compare.md: of two runs of one method, seven in ten pairs differ significantly on 100 images."""
    found = [is_found(compare_groups(a, b)) for a, b, _ in simulate(1, 100, 0.04, 0.0, 300)]
    assert np.mean(found) == pytest.approx(0.7, abs=0.1)


@pytest.mark.parametrize(
    ("seeds", "images", "seed_spread"),
    [(1, 14, 0.0), (1, 20, 0.0), (3, 14, 0.0), (3, 14, 0.04), (3, 100, 0.04), (5, 30, 0.04)],
)
def test_power_is_as_predicted(seeds: int, images: int, seed_spread: float) -> None:
    """The mean of the powers that 400 studies of this size predict for 0.1 dB, against how many of them find it."""
    studies = list(simulate(seeds, images, seed_spread, 0.1, 400))
    found = np.mean([compare_groups(a, b).verdict == Verdict.BETTER for a, b, _ in studies])
    predicted = np.mean([predict_power(measure_spread(a, b), 0.1, images, (seeds, seeds)) for a, b, _ in studies])
    assert 0.2 < found < 0.98 and predicted == pytest.approx(found, abs=0.1)
