"""The result of one comparison between a run and its repetition."""

from dataclasses import dataclass

EQUAL, CLOSE, DIFFERENT = "equal", "close", "different"  # to the last bit; within the tolerance; not


@dataclass(frozen=True)
class Outcome:
    """The comparison of one metric or of one weight file."""

    name: str
    kind: str  # EQUAL, CLOSE or DIFFERENT
    count: int  # of points or tensors
    largest_difference: float = 0.0  # relative
    detail: str = ""  # the first difference of points, the tensor with the largest one

    def __str__(self) -> str:
        difference = f", at most {self.largest_difference:.1e} of the value" if self.largest_difference else ""
        return f"{self.name}: {self.detail}{difference}"
