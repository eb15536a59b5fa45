"""`niqe=true`: the NIQE of images before and after they are upscaled."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from sr.image.file_format import READ_ALL, ImageFile, ReadOptions
from sr.image.read import open_image_file
from sr.image.write import to_uint8
from sr.metric.niqe import score_niqe
from sr.prediction.preview import open_result, read_levels


class Naturalness(NamedTuple):
    """NIQE of an image and of its result, lower is better; None: not measured, a side has less than 192 pixels."""

    before: float | None
    after: float | None

    def describe(self) -> str:
        """Return `NIQE 5.12 before, 4.01 after`."""
        return f"NIQE {_format(self.before)} before, {_format(self.after)} after"


def measure_niqe(source: Path, result: Path, options: ReadOptions = READ_ALL) -> Naturalness:
    """Measure the NIQE (variant `matlab`) of both files at 8 bits: of their first frame, or the middle one of a volume."""
    return Naturalness(_score(open_image_file(source, options)), _score(open_result(result, options)))


def describe_mean(values: Sequence[Naturalness]) -> str:
    """Return the means over the images of which both are measured, or an empty string if there are less than two."""
    pairs = [value for value in values if None not in value]
    if len(pairs) < 2:
        return ""
    before, after = (sum(numbers) / len(pairs) for numbers in zip(*pairs, strict=True))
    return f"mean of {len(pairs)} images: {Naturalness(before, after).describe()}"


def _score(file: ImageFile) -> float | None:
    with file:
        is_8_bit = file.header.dtype == torch.uint8 and file.header.channels in (1, 3)
        value = score_niqe(file.read(file.middle).pixels if is_8_bit else to_uint8(read_levels(file)))
    return None if math.isnan(value) else value


def _format(value: float | None) -> str:
    return "not measured (smaller than 192×192)" if value is None else f"{value:.2f}"
