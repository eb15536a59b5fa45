"""Types of options that say which values make sense: annotations for the signatures of parts and commands.

`sr.config.signature` reads them, and refuses any other value before something is built. They are `typing.Annotated` with
the constraints of annotated-types, so that a class with such a signature depends on no framework. No number may be NaN or
infinite, and true is no number: that needs no annotation.
"""

import itertools
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Interval, Len, MinLen, Predicate, doc

# Counts, and lengths in steps or pixels.
PositiveInt = Annotated[int, Ge(1)]
NonNegativeInt = Annotated[int, Ge(0)]
# Sizes, weights and rates.
PositiveFloat = Annotated[float, Gt(0)]
NonNegativeFloat = Annotated[float, Ge(0)]
# Probabilities and factors.
Fraction = Annotated[float, Interval(ge=0, le=1)]
PositiveFraction = Annotated[float, Interval(gt=0, le=1)]
Decay = Annotated[float, Interval(ge=0, lt=1)]  # of a running mean
# Text. An empty path would be the working folder.
NonEmptyStr = Annotated[str, MinLen(1)]
PathStr = Annotated[str, MinLen(1), doc("a path")]
Port = Annotated[int, Interval(ge=0, le=65535)]  # of TCP; 0: any that is free
Quality = Annotated[int, Interval(ge=1, le=100)]  # of lossy image formats

# Options that all parts share.
Scale = Literal[2, 3, 4, 8]
Color = Literal["rgb", "y", "gray", "bands"]
Stage = Literal["fit", "test"]
Perf = Literal["plain", "auto", "fast"]
Cost = Literal["multiply_adds", "ms_per_image", "ntire_score"]
FurtherCost = Literal["ntire_score"]
Seed = Annotated[int, Interval(ge=0, le=2**32 - 1)]


def is_ascending(values: Sequence[Any]) -> bool:
    """Return True if no value is smaller than the one before."""
    return list(values) == sorted(values)


def has_ascending_lengths(values: Sequence[float]) -> bool:
    """Return True if the fractions of a training among these lengths ascend, and so do those in steps (1 or more)."""
    return is_ascending([v for v in values if v < 1]) and is_ascending([v for v in values if v >= 1])


def is_fraction_or_count(value: float) -> bool:
    """Return True for a fraction from 0 to 1, and for a whole number."""
    return 0 <= value <= 1 or (value > 1 and value % 1 == 0)


def is_increasing(values: Sequence[Any]) -> bool:
    """Return True if each value is larger than the one before."""
    return all(a < b for a, b in itertools.pairwise(values))


# Ranges that a random number is drawn from.
Range = Annotated[Sequence[float], Len(2, 2), Predicate(is_ascending), doc("two numbers, [least, most]")]
IntRange = Annotated[Sequence[int], Len(2, 2), Predicate(is_ascending), doc("two whole numbers, [least, most]")]
ValueRange = Annotated[
    Sequence[float], Len(2, 2), Predicate(is_increasing), doc("two numbers, [black, white], black < white")
]
# Lengths of a training.
Length = Annotated[
    float,
    Predicate(is_fraction_or_count),
    doc("a whole number of steps, or a fraction of the training from 0 to 1"),
]
Milestones = Annotated[
    Sequence[Length],
    Predicate(has_ascending_lengths),
    doc("a list of ascending steps, or of fractions of the training from 0 to 1"),
]
