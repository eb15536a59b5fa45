"""The spectra of a batch of results, for the metrics of multispectral images."""

from collections.abc import Sequence

from torch import Tensor

from sr.image.batch import MetricInput


def select_spectra(images: MetricInput) -> tuple[Tensor, Tensor]:
    """Return the result and HR with all bands, border cut, in 0…1, `[B, C, H, W]`: also where luma is measured."""
    border = (images.sr.shape[-1] - images.x.shape[-1]) // 2
    height, width = images.sr.shape[-2:]
    return tuple(image[..., border : height - border, border : width - border] for image in (images.sr, images.hr))


def find_offset(value_range: Sequence[float] | None) -> float:
    """Return what a value of 0 is, relative to the range that stands for 0…1; 0 without a range.

    Added to an image in 0…1 it gives the values of the file, divided by the width of the range.
    """
    return 0.0 if value_range is None else value_range[0] / (value_range[1] - value_range[0])
