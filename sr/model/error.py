"""The error of a training that exploded, apart from what raises it: `sr.evaluate` must not import Lightning."""

from sr.image.batch import Pair
from sr.runtime.error import UserError


class ExplodedError(UserError):
    """A training that could not be rescued; `batch` is the training batch of its last bad step."""

    def __init__(self, message: str, step: int, batch: Pair) -> None:
        super().__init__(message)
        self.step, self.batch = step, batch
