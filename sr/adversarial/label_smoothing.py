"""One-sided label smoothing (Salimans et al., "Improved Techniques for Training GANs", 2016,
https://arxiv.org/abs/1606.03498, section 3.4): D's label of real images is below 1; that of fakes stays 0."""

import math

from sr.runtime.error import UserError


def check_label_smoothing(label_smoothing: float) -> None:
    """Raise unless this can be the distance of the label of real images from 1."""
    if not 0 <= label_smoothing < 0.5:
        raise UserError(
            f"model.adversarial.label_smoothing={label_smoothing}: expected 0 (none) to below 0.5; 0.1 makes the label of "
            "real images 0.9"
        )


def smoothed_label_entropy(label_smoothing: float) -> float:
    """Return the entropy of the label 1 - label_smoothing in nats: the minimum of the cross entropy with it."""
    return -sum(p * math.log(p) for p in (label_smoothing, 1 - label_smoothing) if p)
