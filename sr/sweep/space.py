"""The search space of a sweep: which options vary, and over what, from words in Hydra's override grammar.

model/net=espcn,edsr          choice(espcn,edsr)          range(1,9,2)
interval(1e-4,1e-2)           tag(log,interval(1e-4,1e-2))          int(interval(8,64))
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import product
from math import prod

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep, Sweep
from hydra.errors import OverrideParseException
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from sr.config.command_line import format_value
from sr.runtime.error import UserError

MAX_VALUES = 10_000  # of one option of a grid
INT_INTERVAL = re.compile(r"int\(\s*interval\(\s*([^,\s]+)\s*,\s*([^)\s]+)\s*\)")  # whose ends Hydra has cut off
Params = dict[str, str | int | float]  # the values of one trial, by option


@dataclass(frozen=True)
class Values:
    """An option that takes one of several values, written as in a command: `16`, `null`, `[Set5,Set14]`."""

    values: tuple[str, ...]

    def to_distribution(self) -> BaseDistribution:
        """Return it as Optuna's."""
        return CategoricalDistribution(self.values)

    def list_examples(self) -> list[str]:
        """Return values that a check of the options has to try: all."""
        return list(self.values)

    def count(self) -> int:
        """Return the number of values."""
        return len(self.values)

    def __str__(self) -> str:
        return ",".join(self.values)


@dataclass(frozen=True)
class Interval:
    """An option that takes any number of a closed interval."""

    low: float
    high: float
    is_log: bool = False  # the logarithm is uniform, not the number
    step: float | None = None  # of a range in an adaptive search

    def to_distribution(self) -> BaseDistribution:
        """Return it as Optuna's; of integers if both ends are."""
        if isinstance(self.low, int) and isinstance(self.high, int):
            return IntDistribution(self.low, self.high, log=self.is_log, step=self.step or 1)
        return FloatDistribution(self.low, self.high, log=self.is_log, step=self.step)

    def list_examples(self) -> list[str]:
        """Return values that a check of the options has to try: both ends."""
        return [repr(self.low), repr(self.high)]

    def count(self) -> int | None:
        """Return the number of values; None if there is no end of them."""
        if isinstance(self.low, float) and self.step is None:
            return None
        return int((self.high - self.low) / (self.step or 1) + 1.5)

    def __str__(self) -> str:
        if self.step is not None:
            return f"range({self.low!r},{self.high!r},{self.step!r}, both ends)"
        interval = f"interval({self.low!r},{self.high!r})"
        return f"tag(log,{interval})" if self.is_log else interval


Space = dict[str, Values | Interval]  # by option


def split_overrides(overrides: Iterable[str], is_grid: bool) -> tuple[list[str], Space]:
    """Return the words that are the same in all trials, and the options that vary.

    In a grid `range(1,9,2)` is a list of values; in a search it is an interval with a step.
    """
    fixed: dict[str, str] = {}  # by word; its key is the value
    space: Space = {}
    for word in overrides:
        override = _parse(word)
        key = word.partition("=")[0]
        if not override.is_sweep_override():
            fixed[word] = key.lstrip("+~")
            continue
        if key in space:
            raise UserError(f"{word}: expected each option once (found {key} twice)")
        if key.startswith(("sweep.", "sweep/")) or key == "sweep":
            several = f"; several objectives: {key}=[psnr,train_seconds]" if key == "sweep.objective" else ""
            raise UserError(f"{word}: expected one value, for the options of the sweep itself cannot vary{several}")
        space[key] = _read_dimension(override, word, is_grid)
    for word, key in fixed.items():
        if key in space:
            raise UserError(
                f"{word}: expected each option once (found {key}={space[key]} as well); leave one of them out"
            )
    return list(fixed), space


def read_space(node: Mapping[str, object], is_grid: bool) -> Space:
    """Return the search space of `sweep.space`: options with values as they are typed, or with a list of values."""
    space: Space = {}
    for key, value in node.items():
        text = ",".join(map(format_value, value)) if isinstance(value, list) and len(value) > 1 else format_value(value)
        word = f"{key}={value if isinstance(value, str) else text}"
        try:
            space |= split_overrides([word], is_grid)[1]
        except UserError as error:
            raise UserError(f"sweep.space: {error}") from None
        if key not in space:
            raise UserError(f"sweep.space: {word}: expected several values, such as [1,2,3] or 'interval(0,1)'")
    return space


def _parse(word: str) -> Override:
    try:
        return OverridesParser.create().parse_overrides([word])[0]
    except OverrideParseException as error:
        if re.search(r"=(choice|shuffle|sort)\(\s*\)$|=\s*,|,\s*$", word):
            raise UserError(f"{word}: expected values (found an empty one, or none): seed=0,1,2") from None
        if "=interval(" in word or "(interval(" in word:
            raise UserError(f"{word}: expected two numbers: interval(1e-4,1e-2)") from None
        raise UserError(f"cannot read {word!r}: {str(error).splitlines()[0]}") from None


def _read_dimension(override: Override, word: str, is_grid: bool) -> Values | Interval:
    value = override.value()
    if isinstance(value, IntervalSweep):
        return _read_interval(value, word, is_grid)
    if isinstance(value, RangeSweep):
        return _read_range(value, word, is_grid)
    if not isinstance(value, ChoiceSweep):
        raise UserError(f"{word}: expected values, choice(…), range(…) or interval(…) (found glob)")
    if any(isinstance(item, Sweep) for item in value.list):
        raise UserError(f"{word}: expected a list of values, or one range(…) or interval(…) (found both)")
    if value.shuffle:
        raise UserError(f"{word}: expected values in a fixed order, by which a sweep is found again (found shuffle)")
    values = tuple(override.sweep_string_iterator())
    if not values or len(set(values)) < len(values):
        found = "none" if not values else "one twice"
        raise UserError(f"{word}: expected different values, at least one (found {found})")
    return Values(values)


def _read_range(value: RangeSweep, word: str, is_grid: bool) -> Values | Interval:
    """Read a range, of which the numbers are listed only if there are not too many."""
    start, stop, step = (Decimal(str(number)) for number in (value.start, value.stop, value.step))
    if not all(number.is_finite() for number in (start, stop, step)) or step == 0:
        raise UserError(f"{word}: expected finite numbers, and a step other than 0")
    count = max(0, math.ceil((stop - start) / step))
    if count == 0:
        raise UserError(f"{word}: expected at least one number (found an empty range); its end is not part of it")
    if is_grid and count > MAX_VALUES:
        raise UserError(
            f"{word}: expected at most {MAX_VALUES:,} values in a grid (found {count:,}); type sweep=random sweep.trials=…"
        )
    to_number = int if all(isinstance(number, int) for number in (value.start, value.stop, value.step)) else float
    if is_grid:
        return Values(tuple(repr(to_number(start + k * step)) for k in range(count)))
    ends = sorted((start, start + (count - 1) * step))
    return Interval(*map(to_number, ends), step=to_number(abs(step)))


def _read_interval(value: IntervalSweep, word: str, is_grid: bool) -> Interval:
    low, high, is_log = value.start, value.end, "log" in value.tags
    if is_grid:
        raise UserError(f"{word}: a grid has no end of values in an interval; type sweep=tpe, or values: a,b,c")
    if not (math.isfinite(low) and math.isfinite(high)):
        raise UserError(f"{word}: expected two finite numbers (found {low} and {high})")
    whole = INT_INTERVAL.search(word)
    if whole and any(float(number) % 1 for number in whole.groups()):
        raise UserError(f"{word}: expected whole numbers (found {' and '.join(whole.groups())})")
    if not low < high:
        raise UserError(f"{word}: expected two numbers, the smaller one first (found {low} and {high})")
    if is_log and low <= 0:
        raise UserError(f"{word}: expected numbers above 0 on a logarithmic scale (found {low})")
    unknown = set(value.tags) - {"log"}
    if unknown:
        raise UserError(f"{word}: expected the tag log, or none (found {', '.join(sorted(unknown))})")
    return Interval(low, high, is_log)


def count_points(space: Space) -> int | None:
    """Return the number of points of a search space; None if there is no end of them."""
    counts = [dimension.count() for dimension in space.values()]
    return None if None in counts else prod(counts)


def list_points(space: Space) -> Iterator[Params]:
    """Yield all points of a grid; the last option varies fastest, as in Hydra's own sweeper."""
    for values in product(*(dimension.list_examples() for dimension in space.values())):
        yield dict(zip(space, values, strict=True))


def list_examples(space: Space) -> Iterator[Params]:
    """Yield points in which every value of every option occurs at least once, with the first values of the others."""
    first = {key: dimension.list_examples()[0] for key, dimension in space.items()}
    yield first
    for key, dimension in space.items():
        for value in dimension.list_examples()[1:]:
            yield first | {key: value}


def to_words(params: Params) -> list[str]:
    """Return the overrides of one trial."""
    return [f"{key}={value if isinstance(value, str) else repr(value)}" for key, value in params.items()]
