"""The statistics of sr.compare, against SciPy and literal numbers."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from sr.comparison.power import describe_power, estimate_power, predict_power
from sr.comparison.ranking import draw_critical_differences, rank_groups
from sr.comparison.shared_images import align_groups
from sr.comparison.significance import compare_groups
from sr.comparison.spread import Spread, measure_spread
from sr.comparison.verdict import Verdict, correct_pairs, count_images, describe_verdict

# PSNR in dB of 14 images, and the differences of another method, made up.
BASE = np.array([32.1, 28.4, 25.7, 30.3, 27.9, 26.2, 33.8, 29.5, 24.9, 31.0, 28.8, 27.1, 30.9, 26.6])
STEPS = np.array([0.12, 0.08, 0.15, 0.05, 0.11, 0.19, -0.02, 0.07, 0.13, 0.09, 0.16, 0.03, 0.14, 0.10])


def repeat(values: np.ndarray, *offsets: float) -> np.ndarray:
    """Return `[seeds, images]` of runs that differ by the same offset on every image."""
    return values + np.array(offsets)[:, None]


def draw(generator: np.random.Generator, seeds: int, images: int, mean: float = 0.0) -> np.ndarray:
    """Return the values of one group: images vary by 0.1, seeds by 0.04 and the rest by 0.05."""
    group = mean + generator.normal(0, 0.1, images) + generator.normal(0, 0.04, (seeds, 1))
    return group + generator.normal(0, 0.05, (seeds, images))


def test_one_seed_agrees_with_scipy() -> None:
    pair = compare_groups(BASE + STEPS, BASE)
    assert pair.difference == pytest.approx(0.1)
    assert pair.p == pair.p_images == stats.wilcoxon(STEPS, method="exact").pvalue == 2 / 2**13
    assert pair.p_seeds is None
    level = 1 - 2 * stats.norm.sf(stats.t.ppf(0.975, 13) * (14 / 13) ** 0.5)
    expected = stats.bootstrap((STEPS,), np.mean, n_resamples=10_000, confidence_level=level, rng=7).confidence_interval
    assert pair.interval == pytest.approx((expected.low, expected.high), abs=0.003)
    assert (pair.wins, pair.losses, pair.images) == (13, 1, 14)
    assert pair.effect_size == pytest.approx((105 - 1 - 1) / 105)  # all ranks but the smallest are positive
    assert describe_verdict(pair, "dB", "Set14") == (
        "better by 0.10 dB [0.06, 0.13] on Set14 (n = 14, 1 seed), p < 0.001; of two weight files, not of two methods"
    )


def test_three_seeds_without_spread_agree_with_the_paired_t_test() -> None:
    pair = compare_groups(repeat(BASE + STEPS, 0, 0, 0), repeat(BASE, 0, 0, 0))
    expected = stats.ttest_1samp(STEPS, 0)
    assert pair.p_seeds == pytest.approx(expected.pvalue)
    low, high = expected.confidence_interval(0.95)
    assert pair.interval[0] <= low + 1e-9 and pair.interval[1] >= high - 1e-9
    assert pair.interval == pytest.approx((low, high), abs=0.003)


def test_seeds_that_differ_equally_on_all_images_agree_with_welchs_t_test() -> None:
    a, b = (0.31, 0.22, 0.28), (0.05, 0.11, 0.02, 0.09)
    pair = compare_groups(repeat(BASE, *a), repeat(BASE, *b))
    expected = stats.ttest_ind(a, b, equal_var=False)
    assert pair.p_seeds == pytest.approx(expected.pvalue) == pytest.approx(0.00345, abs=1e-5)
    assert pair.interval == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert (
        describe_verdict(pair, "dB", "Set14")
        == "better by 0.20 dB [0.11, 0.29] on Set14 (n = 14, 3 and 4 seeds), p = 0.003"
    )


def test_difference_within_the_spread_of_the_seeds_is_not_called_real() -> None:
    """The same images say p < 0.001, and the mean of the better group is higher by 0.1 dB."""
    pair = compare_groups(repeat(BASE + STEPS, -0.08, 0, 0.08), repeat(BASE, -0.08, 0, 0.08))
    assert pair.p_images < 0.001
    assert describe_verdict(pair, "dB", "Set14") == (
        "not distinguishable: 0.10 dB [−0.08, 0.28] on Set14 (n = 14, 3 seeds); within the spread of the seeds"
    )
    two = compare_groups(repeat(BASE + STEPS, -0.05, 0.05), repeat(BASE, -0.05, 0.05))
    assert describe_verdict(two, "dB") == (
        "not distinguishable: 0.10 dB [−0.19, 0.39] (n = 14, 2 seeds); within the spread of the seeds, and 2 seeds are few"
    )


def test_an_interval_without_zero_needs_a_significant_test() -> None:
    """Three images of 14 are better by much, the others by turns better and worse."""
    steps = np.array([3.0, 2.5, 4.0, *[0.1, -0.12] * 5, 0.13])
    text = describe_verdict(compare_groups(BASE + steps, BASE), "dB")
    assert text == "not distinguishable: 0.68 dB [0.06, 1.75] (n = 14, 1 seed), p = 0.43"


def test_bicubic_has_no_seed() -> None:
    group = repeat(BASE + STEPS, -0.01, 0, 0.01)
    text = describe_verdict(compare_groups(group, BASE, deterministic=(False, True)), "dB", "Set14")
    assert text == "better by 0.10 dB [0.07, 0.13] on Set14 (n = 14, 3 seeds), p < 0.001"
    assert describe_verdict(compare_groups(group, BASE), "dB", "Set14").endswith(
        "; of one weight file, not of its method"
    )
    both = compare_groups(BASE + STEPS, BASE, deterministic=(True, True))
    assert describe_verdict(both, "dB") == "better by 0.10 dB [0.06, 0.13] (n = 14), p < 0.001"


def test_five_images_are_too_few() -> None:
    pair = compare_groups(BASE[:5] + 1, BASE[:5])
    assert pair.p == 2 / 2**5  # the smallest that there is
    assert describe_verdict(pair, "dB") == "too few images to tell (n = 5): at least 1 more needed"
    assert compare_groups(BASE[:6] + 1, BASE[:6]).verdict == Verdict.BETTER
    assert (
        describe_verdict(compare_groups([30.0], [29.0]), "dB")
        == "too few images to tell (n = 1): at least 5 more needed"
    )
    assert [count_images(pairs) for pairs in (1, 2, 28)] == [6, 7, 11]


def test_lower_is_better() -> None:
    pair = compare_groups(BASE + STEPS, BASE, higher_is_better=False)
    assert (pair.difference, pair.raw_difference) == pytest.approx((-0.1, 0.1))
    assert describe_verdict(pair).startswith("worse by 0.10 [0.06, 0.13] (n = 14")


def test_small_differences_get_more_digits() -> None:
    pair = compare_groups(BASE + 0.002, BASE)
    assert describe_verdict(pair, "dB").startswith("better by 0.002 dB [0.002, 0.002] (n = 14")
    assert describe_verdict(compare_groups(BASE + STEPS / 1e4, BASE), digits=4).startswith(
        "better by 0.00001 [0.00001,"
    )


def test_identical_results() -> None:
    pair = compare_groups(repeat(BASE, 0, 0.1, 0.2), repeat(BASE, 0.2, 0, 0.1))  # the mean is summed in another order
    assert (pair.verdict, pair.difference, pair.p, pair.effect_size) == (Verdict.IDENTICAL, 0, 1, 0)
    assert describe_verdict(compare_groups(BASE, BASE), "dB", "Set14") == "identical on Set14 (n = 14)"


def test_infinite_and_missing_values_are_left_out_and_counted() -> None:
    a, b = BASE + STEPS, BASE.copy()
    a[0], b[3], b[5] = math.inf, math.nan, -math.inf
    pair = compare_groups(a, b)
    assert pair.difference == pytest.approx(np.delete(STEPS, [0, 3, 5]).mean())
    assert "(n = 11, 1 seed, 3 left out)" in describe_verdict(pair, "dB")
    nothing = compare_groups([math.inf, math.inf], [30.0, 31.0])
    assert (
        nothing.to_json_values() | {"images": 0, "difference": None, "verdict": "too few images"}
        == nothing.to_json_values()
    )


def test_many_images_need_little_memory_and_time() -> None:
    generator = np.random.default_rng(4)
    a = generator.normal(0.01, 0.2, 5_000)
    low, high = compare_groups(a, np.zeros(5_000)).interval
    assert (low, high) == pytest.approx(tuple(stats.ttest_1samp(a, 0).confidence_interval(0.95)), abs=5e-4)


def test_ties_and_zeros_are_exact_up_to_13_images() -> None:
    steps = np.array([0, 0.1, 0.1, 0.1, 0.2, 0.2, -0.1, 0.3, 0.3])
    signs = np.array(np.meshgrid(*[[-1, 1]] * 8)).reshape(8, -1)
    ranks = stats.rankdata(np.abs(steps[1:]))
    total = (ranks * np.sign(steps[1:])).sum()
    expected = (np.abs(ranks @ signs) >= total).mean()  # of all 256 assignments of signs
    assert compare_groups(BASE[:9] + steps, BASE[:9]).p_images == pytest.approx(expected)


def test_correction_for_all_pairs() -> None:
    """Holm 1979: the smallest p times 3, the next times 2, the largest times 1, never decreasing."""
    pair = compare_groups(BASE + STEPS, BASE)
    few, same = compare_groups(BASE[:5] + 1, BASE[:5]), compare_groups(BASE, BASE)
    pairs = [replace(pair, p=0.02), few, replace(pair, p=0.011), same, replace(pair, p=0.03)]
    corrected = correct_pairs(pairs)
    assert [r.p_corrected for r in corrected] == pytest.approx([0.04, 1, 0.033, 1, 0.04])
    assert [r.pairs for r in corrected] == [3, 4, 3, 4, 3]
    assert [r.verdict for r in corrected] == ["better", "too few images", "better", "identical", "better"]
    twice = correct_pairs([replace(pair, p=0.03), replace(pair, p=0.04)])
    assert describe_verdict(twice[0], "dB", "Set14") == (
        "not distinguishable: 0.10 dB [0.06, 0.13] on Set14 (n = 14, 1 seed) after correction for 2 pairs, p = 0.060"
    )
    assert correct_pairs([]) == []
    assert [r.pairs for r in correct_pairs([same])] == [1]


def test_the_images_needed_are_those_for_all_pairs_of_the_table() -> None:
    """On six images the smallest p is 1/32, too large for one of 28 pairs; on eleven it is 1/1024, and 28/1024 < 0.05."""
    few = correct_pairs([compare_groups(BASE[:5] + 1, BASE[:5])] * 28)
    assert describe_verdict(few[0], "dB", "Set5") == "too few images to tell on Set5 (n = 5): at least 6 more needed"


@pytest.mark.parametrize("seeds", [(1, 1), (3, 3), (1, 4)])
def test_properties(seeds: tuple[int, int]) -> None:
    generator = np.random.default_rng(5)
    a, b = draw(generator, seeds[0], 20, 0.08), draw(generator, seeds[1], 20)
    pair, swapped = compare_groups(a, b), compare_groups(b, a)
    assert pair == compare_groups(a.copy(), b.copy())  # the same digits each time
    assert swapped.difference == -pair.difference and swapped.p == pytest.approx(pair.p)
    assert swapped.interval == pytest.approx((-pair.interval[1], -pair.interval[0]), abs=0.01)
    order, runs = generator.permutation(20), generator.permutation(seeds[1])
    shuffled = compare_groups(a[:, order], b[runs][:, order])
    assert (shuffled.p, shuffled.difference) == pytest.approx((pair.p, pair.difference))
    shifted = compare_groups(a + BASE.mean(), b + BASE.mean())
    assert (shifted.p, *shifted.interval) == pytest.approx((pair.p, *pair.interval), rel=1e-4)
    assert compare_groups(a, b, higher_is_better=False).difference == -pair.difference


def test_spread_of_a_literal_table() -> None:
    """Two seeds that differ by 0.2 on average; on the two images by 0.1 and 0.3."""
    a = np.array([[30.0, 30.0], [30.1, 30.3]])
    b = np.array([[29.0, 29.5]])
    spread = measure_spread(a, b)
    assert spread.rest == pytest.approx((0.01, 0))  # residuals of ±0.05: 4 · 0.0025 / (1 · 1)
    assert spread.seeds == pytest.approx((0.02 - 0.01 / 2, 0))  # the means differ by 0.2: variance 0.02
    assert spread.images == pytest.approx(0.08 - 0.01 / 2)  # differences of means 1.05 and 0.65: variance 0.08


def test_spread_is_found_again() -> None:
    generator = np.random.default_rng(2)
    spreads = [measure_spread(draw(generator, 4, 30), draw(generator, 4, 30)) for _ in range(400)]
    assert np.mean([s.images for s in spreads]) == pytest.approx(2 * 0.1**2, rel=0.05)
    assert np.mean([s.seeds for s in spreads]) == pytest.approx(0.04**2, rel=0.05)
    assert np.mean([s.rest for s in spreads]) == pytest.approx(0.05**2, rel=0.05)


def test_power_agrees_with_statsmodels() -> None:
    """Without a spread of the seeds this is the paired t test, which needs 5 % fewer images than Wilcoxon's."""
    from statsmodels.stats.power import TTestPower

    for images in (10, 40):
        ours = predict_power(Spread(0.01, (0, 0), (0, 0)), 0.05, images, (1, 1))
        assert ours == pytest.approx(TTestPower().power(0.05 / 0.1 * (3 / math.pi) ** 0.5, images, 0.05), abs=0.002)
    assert predict_power(Spread(0.0, (0, 0), (0, 0)), 0.05, 5, (1, 1)) == 0  # no difference is found on five images
    assert predict_power(Spread(0.0, (0, 0), (0, 0)), 0.05, 6, (1, 1)) == 1


def test_power_in_words() -> None:
    estimate = estimate_power(repeat(BASE + STEPS, -0.01, 0, 0.01), repeat(BASE, -0.01, 0, 0.01), 0.05)
    assert describe_power(estimate, "dB") == (
        "a difference of 0.05 dB is found with a probability of 77%; 80% need 16 (now 14) images with the same seeds, "
        "or 5 (now 3) seeds on the same images"
    )
    spread = estimate_power(repeat(BASE + STEPS, -0.08, 0, 0.08), repeat(BASE, -0.08, 0, 0.08), 0.05)
    assert describe_power(spread, "dB") == (
        "a difference of 0.05 dB is found with a probability of 7%; 80% need no number of images alone, because the seeds "
        "vary by 0.08 dB (standard deviation), or 233 (now 3) seeds on the same images"
    )
    generator = np.random.default_rng(3)
    neither = estimate_power(draw(generator, 3, 14), draw(generator, 3, 14), 0.05)
    assert "and no number of seeds alone" in describe_power(neither, "dB")
    assert describe_power(neither, "dB").endswith("; together 34 seeds on 159 images")
    one = estimate_power(BASE + STEPS, BASE, 0.05)
    assert one.seeds_needed is None and describe_power(one).endswith(
        "one seed says nothing of the spread between seeds"
    )
    assert predict_power(measure_spread(BASE[None] + STEPS, BASE[None]), 0.05, one.images_needed, (1, 1)) >= 0.8
    assert predict_power(measure_spread(BASE[None] + STEPS, BASE[None]), 0.05, one.images_needed - 1, (1, 1)) < 0.8
    assert estimate_power(BASE + STEPS, BASE, 0.05, pairs=10).images_needed > one.images_needed


def test_critical_differences() -> None:
    generator = np.random.default_rng(1)
    groups = {name: draw(generator, 3, 40, mean) for name, mean in zip("abcd", (0, 0.01, 0.3, 0.6), strict=True)}
    keys = [(x, y) for x in "abcd" for y in "abcd" if x < y]
    pairs = dict(zip(keys, correct_pairs([compare_groups(groups[x], groups[y]) for x, y in keys]), strict=True))
    assert [pairs[key].verdict for key in keys] == ["not distinguishable", *["worse"] * 5]
    ranks, p, images = rank_groups(groups)
    assert images == 40
    means = np.stack([group.mean(axis=0) for group in groups.values()])
    assert p == stats.friedmanchisquare(*means).pvalue < 1e-9
    assert sorted(ranks, key=ranks.get)[:2] == ["d", "c"] and sum(ranks.values()) == pytest.approx(10)
    assert rank_groups(groups, higher_is_better=False)[0]["d"] == pytest.approx(5 - ranks["d"])
    svg = draw_critical_differences(groups, pairs)
    assert svg == draw_critical_differences(groups, pairs) and b"mean rank over 40 images" in svg
    assert b"p &lt; 0.001" in svg and b"a bar connects, at its dots, groups of which no two are distinguished" in svg
    assert draw_critical_differences(groups, pairs, file_format="png").startswith(b"\x89PNG")
    assert rank_groups({key: [math.inf] for key in "abcd"}) == (dict.fromkeys("abcd", 2.5), 1.0, 0)
    assert rank_groups(dict.fromkeys("abcd", BASE)) == (dict.fromkeys("abcd", 2.5), 1.0, 14)


def test_only_shared_images_are_compared() -> None:
    groups = {"a": [{"x": 1.0, "y": 2.0, "z": 3.0}, {"z": 6.0, "x": 4.0}], "b": [{"x": 7.0, "z": 9.0, "w": 8.0}]}
    values, names, left_out = align_groups(groups)
    assert (names, left_out) == (["x", "z"], ["w", "y"])
    assert values["a"].tolist() == [[1, 3], [4, 6]] and values["b"].tolist() == [[7, 9]]
