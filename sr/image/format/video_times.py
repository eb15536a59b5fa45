"""Find how long the frames of a video are shown, and the longest time without one."""

from fractions import Fraction

import numpy as np

GAP = 0.5  # seconds, and at least 8 frames, without a frame that are named; 3 frames of a constant rate
CONSTANT = 0.9  # the share of frames that are equally long at a constant rate


def find_gap(times: np.ndarray, unit: Fraction) -> list[str]:
    """Return a note about the longest time without a frame, which a container does not distinguish from lost frames."""
    if len(times) < 3:
        return []
    between = np.diff(times)
    longest, usual = int(between.max()), int(np.median(between))
    is_constant = (abs(between - usual) * 20 <= usual).mean() > CONSTANT
    if longest < 3 * usual if is_constant else longest * unit < GAP or longest < 8 * usual:
        return []
    start, end = (float(times[between.argmax() + k] * unit) for k in (0, 1))
    return [f"no frame from {start:.2f} s to {end:.2f} s: a still part, or frames are missing in the file"]


def fill_durations(times: np.ndarray, stated: np.ndarray) -> np.ndarray:
    """Return how long each frame is shown. Packets state the time to the next one that is decoded, which may be far less."""
    between, last = np.diff(times), int(stated[-1])
    usual = int(np.median(between)) if len(between) else 1
    return np.append(between, last if 2 * last >= usual else usual)
