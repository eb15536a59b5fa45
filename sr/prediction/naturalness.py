"""`niqe=true`: the NIQE of images before and after they are upscaled."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from sr.image.read import open_image_file
from sr.image.write import to_uint8
from sr.metric.niqe import score_niqe
from sr.prediction.preview import read_levels


class Naturalness(NamedTuple):
    """NIQE of an image and of its result, lower is better; None: not measured, a side has less than 192 pixels."""

    before: float | None
    after: float | None

    def describe(self) -> str:
        """Return `NIQE 5.12 before, 4.01 after`."""
        return f"NIQE {_format(self.before)} before, {_format(self.after)} after"


def measure_niqe(source: Path, result: Path) -> Naturalness:
    """Measure the NIQE (variant `matlab`) of the first frame of both files, with 8 bits per channel."""
    return Naturalness(_score(source), _score(result))


def describe_mean(values: Sequence[Naturalness]) -> str:
    """Return the means over the images of which both are measured, or an empty string if there are less than two."""
    pairs = [value for value in values if None not in value]
    if len(pairs) < 2:
        return ""
    before, after = (sum(numbers) / len(pairs) for numbers in zip(*pairs, strict=True))
    return f"mean of {len(pairs)} images: {Naturalness(before, after).describe()}"


def _score(path: Path) -> float | None:
    with open_image_file(path) as file:
        is_8_bit = file.header.dtype == torch.uint8 and file.header.channels in (1, 3)
        value = score_niqe(file.read().pixels if is_8_bit else to_uint8(read_levels(file)))
    return None if math.isnan(value) else value


def _format(value: float | None) -> str:
    return "not measured (smaller than 192×192)" if value is None else f"{value:.2f}"
