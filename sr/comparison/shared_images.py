"""Arrange the values of several groups of runs by the images that all of them have."""

from collections.abc import Mapping, Sequence

import numpy as np


def align_groups(
    groups: Mapping[str, Sequence[Mapping[str, float]]],
) -> tuple[dict[str, np.ndarray], list[str], list[str]]:
    """Return each group's values `[seeds, images]`, the names of the shared images, and those that are left out.

    Args:
        groups: name of the group -> for each of its runs, the value of each image by name. The shared images are in
            the order of the first run.
    """
    runs = [run for group in groups.values() for run in group]
    names = [name for name in (runs[0] if runs else ()) if all(name in run for run in runs)]
    left_out = sorted({name for run in runs for name in run} - set(names))
    values = {key: np.array([[run[name] for name in names] for run in group]) for key, group in groups.items()}
    return values, names, left_out
