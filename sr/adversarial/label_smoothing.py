"""One-sided label smoothing (Salimans et al., "Improved Techniques for Training GANs", 2016,
https://arxiv.org/abs/1606.03498, section 3.4): D's label of real images is below 1; that of fakes stays 0."""

import math
from typing import Annotated

from annotated_types import Interval

LabelSmoothing = Annotated[float, Interval(ge=0, lt=0.5)]  # the distance of the label of real images from 1


def smoothed_label_entropy(label_smoothing: float) -> float:
    """Return the entropy of the label 1 - label_smoothing in nats: the minimum of the cross entropy with it."""
    return -sum(p * math.log(p) for p in (label_smoothing, 1 - label_smoothing) if p)
