"""The interface of the formats that `exporter=…` chooses from."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from torch import nn

from sr.checkpoint.agreement import BATCHES, SIDES, TOLERANCE
from sr.checkpoint.load import LoadedNet
from sr.exporter.price import Price


class Exporter(ABC):
    """A format in which a network is used outside sr."""

    name: ClassVar[str]
    """The format as messages and the model card call it."""

    suffix: ClassVar[str]
    """Of its files, such as `.onnx`."""

    tolerance: float = TOLERANCE
    """The largest difference from PyTorch that is an error of rounding, in 0…1."""

    batches: tuple[int, ...] = BATCHES
    """Numbers of images with which a file is checked."""

    def list_sides(self, net: nn.Module) -> tuple[tuple[int, int], ...]:
        """Return heights and widths with which the file is checked."""
        return SIDES

    @abstractmethod
    def write(self, model: LoadedNet, path: Path) -> None:
        """Write the network to `path`. Raise `UserError` if this format cannot hold it."""

    @abstractmethod
    def load(self, path: Path) -> nn.Module:
        """Return the network of a file, executed as its users execute it.

        It takes and returns float `[B, C, h, w]` in 0…1, whatever the dtype in the file; C is 3, or 1 with color=gray.
        """

    def measure_price(self, model: LoadedNet, path: Path) -> Price | None:
        """Return what a lower precision of the file costs; None if it computes in float32."""
        return None

    @abstractmethod
    def write_usage(self, file: str, model: LoadedNet) -> str:
        """Return Python code for the model card that upscales `photo.jpg` with `file`; each line ends in a newline."""
