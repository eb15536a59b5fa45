"""Separate the spread of a metric into that of the seeds, of the images and the rest.

The model is that of studies in which several readers assess the same cases with several methods (N. A. Obuchowski and
H. E. Rockette 1995, https://doi.org/10.1080/03610919508813243; S. L. Hillis 2007, https://doi.org/10.1002/sim.2532), with
seeds in place of readers and images in place of cases. Value of group g, seed s and image i:

    y = mean_g + image_i + difference_gi + seed_gs + rest_gsi

The images are shared by all runs; the seeds of two groups are independent, even if their numbers are equal: a seed
determines the first weights and the order of the data, and two networks or losses diverge from there.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Spread:
    """The variances of a pair of groups, in the metric's unit squared, with n images and S seeds in a group."""

    images: float  # between images, of the difference that remains with any number of seeds
    seeds: tuple[float, float]  # between the seeds of each group, of the mean over any number of images; 0 for one seed
    rest: tuple[float, float]  # between the seeds of each group, on single images; 0 for one seed


def measure_spread(a: np.ndarray, b: np.ndarray) -> Spread:
    """Return the variances of two groups, each `[seeds, images]`; at least two images. None is below 0.

    With one seed in a group its seeds' spread is unknown; what it adds to single images is part of `images`.
    """
    rest = (_measure_rest(a), _measure_rest(b))
    images = np.var(a.mean(axis=0) - b.mean(axis=0), ddof=1)
    return Spread(
        images=max(float(images) - rest[0] / len(a) - rest[1] / len(b), 0.0),
        seeds=(_measure_seeds(a, rest[0]), _measure_seeds(b, rest[1])),
        rest=rest,
    )


def _measure_rest(group: np.ndarray) -> float:
    """Return the mean square of the interaction of seeds and images."""
    seeds, images = group.shape
    if seeds < 2:
        return 0.0
    rest = group - group.mean(axis=1, keepdims=True) - group.mean(axis=0) + group.mean()
    return float((rest**2).sum() / ((seeds - 1) * (images - 1)))


def _measure_seeds(group: np.ndarray, rest: float) -> float:
    if len(group) < 2:
        return 0.0
    return max(float(np.var(group.mean(axis=1), ddof=1)) - rest / group.shape[1], 0.0)
