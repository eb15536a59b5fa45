"""Check the time stamps of a video; find how long its frames are shown, and the longest time without one."""

from fractions import Fraction
from pathlib import Path

import numpy as np

from sr.image.damage import UnsupportedImageError

# A time without a frame is named from 3 times the usual one on if the rate is constant, else from 8 times, and GAP.
GAP = 0.5  # seconds
CONSTANT = 0.9  # the share of frames that are equally long at a constant rate


def check_times(times: np.ndarray, path: Path) -> None:
    """Raise `UserError` unless each frame of a video is shown after the one before it."""
    if len(times) > 1 and np.diff(times).min() <= 0:
        raise UnsupportedImageError(
            f"{path}: two frames have the same time stamp; write it again: ffmpeg -i IN OUT.mkv"
        )


def find_gap(times: np.ndarray, unit: Fraction) -> list[str]:
    """Return a note about the longest time without a frame, which a container does not distinguish from lost frames."""
    if len(times) < 3:
        return []
    between = np.diff(times)
    longest, usual = int(between.max()), int(np.median(between))
    is_constant = (abs(between - usual) * 20 <= usual).mean() > CONSTANT
    is_gap = longest >= 3 * usual if is_constant else longest >= 8 * usual and longest * unit >= GAP
    if not is_gap:
        return []
    start, end = (float(times[between.argmax() + k] * unit) for k in (0, 1))
    return [f"no frame from {start:.2f} s to {end:.2f} s: a still part, or frames are missing in the file"]


def fill_durations(times: np.ndarray, stated: np.ndarray) -> np.ndarray:
    """Return how long each frame is shown. Packets state the time to the next one that is decoded, which may be far less."""
    between, last = np.diff(times), int(stated[-1])
    usual = int(np.median(between)) if len(between) else 1
    return np.append(between, last if 2 * last >= usual else usual)
