"""One row of the benchmark: the figures of this framework and of a reference, one for each round."""

from typing import NamedTuple


class Row(NamedTuple):
    """A comparison whose sides were measured in alternating rounds."""

    name: str
    sr: list[float]
    reference: list[float]
    unit: str
    reference_name: str  # what the reference is
