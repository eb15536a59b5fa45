"""Decide whether two groups of runs differ, with Holm's correction over all pairs, and say so in words."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

ALPHA = 0.05
MAX_DIGITS = 6


class Verdict(StrEnum):
    """The result of comparing group a with group b."""

    BETTER = "better"
    WORSE = "worse"
    NOT_DISTINGUISHABLE = "not distinguishable"
    TOO_FEW_IMAGES = "too few images"  # no result on so few images could be significant
    IDENTICAL = "identical"  # equal on every image


@dataclass(frozen=True)
class PairResult:
    """The difference of group a from group b in one metric on one set; see `compare_groups`.

    `difference` and `interval` are positive if a is better; `raw_difference` is a − b.
    """

    difference: float  # in the metric's unit; NaN without images
    raw_difference: float
    interval: tuple[float, float] | None  # 95 %, of this pair alone; None for fewer than two images
    images: int
    left_out: int  # images on which a value is missing or infinite
    seeds: tuple[int, int]
    deterministic: tuple[bool, bool]  # of a and b, whether there is no seed
    p_images: float  # Wilcoxon's signed-rank test over the images: are these weight files different?
    p_seeds: float | None  # Student's t over seeds and images: are the methods? None with one seed in both groups
    p: float  # the larger of the two
    effect_size: float  # rank-biserial correlation, −1 (worse on all images) … 1 (better on all)
    wins: int  # images on which a is better
    losses: int
    pairs: int = 1  # that Holm's correction is for
    p_corrected: float | None = None  # by `correct_pairs`

    @property
    def verdict(self) -> Verdict:
        """Return the verdict: a difference needs the corrected p below 0.05 and an interval without 0."""
        p = self.p if self.p_corrected is None else self.p_corrected
        if self.images and not self.wins and not self.losses:
            return Verdict.IDENTICAL
        if self.interval and p < ALPHA and self.interval[0] > 0:
            return Verdict.BETTER
        if self.interval and p < ALPHA and self.interval[1] < 0:
            return Verdict.WORSE
        return Verdict.TOO_FEW_IMAGES if self.images < count_images(self.pairs) else Verdict.NOT_DISTINGUISHABLE

    def to_json_values(self) -> dict[str, Any]:
        """Return all values and the verdict as JSON can hold them."""
        values = asdict(self) | {"verdict": str(self.verdict)}
        return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in values.items()}


def count_images(pairs: int = 1) -> int:
    """Return the number of images from which Wilcoxon's test can reach p < 0.05 in each of so many pairs: 6 for one.

    Its smallest p, that of a difference of one sign on all n images, is 2^(1 − n).
    """
    return math.floor(1 + math.log2(max(pairs, 1) / ALPHA)) + 1


def correct_pairs(results: Sequence[PairResult]) -> list[PairResult]:
    """Return the pairs of a table with p corrected by Holm for all of them.

    Pairs on fewer than 6 images do not count, because they cannot be significant (R. E. Tarone 1990,
    https://doi.org/10.2307/2531456): a row of five images costs the others nothing. Neither do identical ones. `pairs` of
    one that does not count is the number of all that are not identical: with more images it would be corrected for these.
    """
    from statsmodels.stats.multitest import multipletests

    distinct = [k for k, result in enumerate(results) if result.verdict != Verdict.IDENTICAL]
    counted = [k for k in distinct if results[k].images >= count_images()]
    corrected = multipletests([results[k].p for k in counted], ALPHA, method="holm")[1] if counted else []
    values = dict(zip(counted, map(float, corrected), strict=True))
    return [
        replace(result, pairs=len(counted) if k in values else max(len(distinct), 1), p_corrected=values.get(k, 1.0))
        for k, result in enumerate(results)
    ]


def describe_verdict(pair: PairResult, unit: str = "", set_name: str = "", digits: int = 2) -> str:
    """Return the verdict in words, such as `better by 0.11 dB [0.07, 0.15] on Set14 (n = 14, 3 seeds), p = 0.002`.

    Args:
        pair: the result, corrected or not.
        unit: of the metric, `dB` or empty.
        set_name: of the image set; may be empty.
        digits: decimals; a difference that would be printed as 0 gets more.
    """
    place = f" on {set_name}" if set_name else ""
    unit = f" {unit}" if unit else ""
    match pair.verdict:
        case Verdict.IDENTICAL:
            return f"identical{place} (n = {pair.images})"
        case Verdict.TOO_FEW_IMAGES:
            more = count_images(pair.pairs) - pair.images
            return f"too few images to tell{place} (n = {pair.images}): at least {more} more needed"
        case Verdict.NOT_DISTINGUISHABLE:
            numbers = _format_difference(pair.difference, pair.interval, unit, digits)
            return f"not distinguishable: {numbers}{place} ({_format_count(pair)}){_explain(pair)}"
    sign = 1 if pair.verdict == Verdict.BETTER else -1
    low, high = sorted(sign * end for end in pair.interval)
    while digits < MAX_DIGITS and float(f"{low:.{digits}f}") == 0:
        digits += 1
    numbers = _format_difference(sign * pair.difference, (low, high), unit, digits)
    p = format_p(pair.p if pair.p_corrected is None else pair.p_corrected)
    return f"{pair.verdict} by {numbers}{place} ({_format_count(pair)}), {p}{_explain_scope(pair)}"


def _format_difference(difference: float, interval: tuple[float, float], unit: str, digits: int) -> str:
    low, high = (_format_number(end, digits) for end in interval)
    return f"{_format_number(difference, digits)}{unit} [{low}, {high}]"


def _format_number(value: float, digits: int) -> str:
    """Return the number with a minus sign as papers print it, and no sign before 0."""
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def format_p(p: float) -> str:
    """Return `p = 0.012`, `p = 0.35` or `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def _format_count(pair: PairResult) -> str:
    counts = [count for count, is_fixed in zip(pair.seeds, pair.deterministic, strict=True) if not is_fixed]
    words = f", {' and '.join(map(str, dict.fromkeys(counts)))} seed{'s' * (max(counts) > 1)}" if counts else ""
    left_out = f", {pair.left_out} left out" if pair.left_out else ""
    return f"n = {pair.images}{words}{left_out}"


def _explain(pair: PairResult) -> str:
    """Return why a difference that looks like one is none."""
    if not pair.interval[0] <= 0 <= pair.interval[1]:  # p decides
        if pair.p_corrected is not None and pair.p < ALPHA:
            return f" after correction for {pair.pairs} pairs, {format_p(pair.p_corrected)}"
        return f", {format_p(pair.p)}"
    if pair.p_seeds is not None and pair.p_images < ALPHA:
        return "; within the spread of the seeds" + ", and 2 seeds are few" * (2 in pair.seeds)
    return _explain_scope(pair)


def _explain_scope(pair: PairResult) -> str:
    """Return what the verdict does not say if a group has one seed."""
    single = [count == 1 and not is_fixed for count, is_fixed in zip(pair.seeds, pair.deterministic, strict=True)]
    if not any(single):
        return ""
    return "; of two weight files, not of two methods" if all(single) else "; of one weight file, not of its method"
