"""The search space of a sweep: which options vary, and over what, from words in Hydra's override grammar.

model/net=espcn,edsr          choice(espcn,edsr)          range(1,9,2)
interval(1e-4,1e-2)           tag(log,interval(1e-4,1e-2))          int(interval(8,64))
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from math import prod

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from hydra.errors import OverrideParseException
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from sr.runtime.error import UserError

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
    fixed: list[str] = []
    space: Space = {}
    for word in overrides:
        override = _parse(word)
        if not override.is_sweep_override():
            fixed.append(word)
            continue
        key = word.partition("=")[0]
        if key in space:
            raise UserError(f"{word}: expected each option once (found {key} twice)")
        space[key] = _read_dimension(override, word, is_grid)
    return fixed, space


def _parse(word: str) -> Override:
    try:
        return OverridesParser.create().parse_overrides([word])[0]
    except OverrideParseException as error:
        raise UserError(f"cannot read {word!r}: {str(error).splitlines()[0]}") from None


def _read_dimension(override: Override, word: str, is_grid: bool) -> Values | Interval:
    value = override.value()
    if isinstance(value, IntervalSweep):
        return _read_interval(value, word, is_grid)
    if isinstance(value, RangeSweep) and not is_grid:
        numbers = list(value.range())
        if not numbers:
            raise UserError(f"{word}: expected at least one number (found an empty range)")
        return Interval(numbers[0], numbers[-1], step=value.step)
    if not isinstance(value, ChoiceSweep | RangeSweep):
        raise UserError(f"{word}: expected values, choice(…), range(…) or interval(…) (found glob)")
    values = tuple(override.sweep_string_iterator())
    if not values or len(set(values)) < len(values):
        found = "none" if not values else "one twice"
        raise UserError(f"{word}: expected different values, at least one (found {found})")
    return Values(values)


def _read_interval(value: IntervalSweep, word: str, is_grid: bool) -> Interval:
    low, high, is_log = value.start, value.end, "log" in value.tags
    if is_grid:
        raise UserError(f"{word}: a grid has no end of values in an interval; type sweep=tpe, or values: a,b,c")
    if not low < high:
        raise UserError(f"{word}: expected two numbers, the smaller one first (found {low} and {high})")
    if is_log and low <= 0:
        raise UserError(f"{word}: expected numbers above 0 on a logarithmic scale (found {low})")
    unknown = set(value.tags) - {"log"}
    if unknown:
        raise UserError(f"{word}: expected the tag log, or none (found {', '.join(sorted(unknown))})")
    return Interval(low, high, is_log)


def count_points(space: Space) -> int:
    """Return the number of points of a grid."""
    return prod(len(dimension.values) for dimension in space.values() if isinstance(dimension, Values))


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
