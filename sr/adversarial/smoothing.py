"""One-sided label smoothing (Salimans et al., "Improved Techniques for Training GANs", 2016,
https://arxiv.org/abs/1606.03498, section 3.4): D shall be only so sure of real images; fakes keep their label, 0."""

import math

from sr.runtime.error import UserError


def checked(smooth: float) -> float:
    """`smooth`, how far below 1 the label of real images is."""
    if not 0 <= smooth < 0.5:
        raise UserError(
            f"model.adversarial.smooth={smooth}: expected 0 (none) to below 0.5; 0.1 makes the label of real images 0.9"
        )
    return smooth


def entropy(smooth: float) -> float:
    """Of such a label, in nats: what a cross entropy with it comes down to at the least."""
    return -sum(p * math.log(p) for p in (smooth, 1 - smooth) if p)
