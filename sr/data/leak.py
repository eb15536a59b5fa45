"""The entry of a leak in a checkpoint: what training and evaluation images have in common."""

from typing import NamedTuple


class Leak(NamedTuple):
    """A training image that shows the same photograph as an image of an evaluation set."""

    training: str
    set: str
    image: str
    note: str

    def __str__(self) -> str:
        return f"{self.training} shows {self.set}/{self.image}"
