"""Divide clips into training, validation and test set: by clips, never by frames, whose neighbors are nearly equal.

Of one clip alone a contiguous block of frames is held out, with a gap that is not used. That is the same scene: such
numbers say nothing of others, and this is printed.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sr.data.clip import ClipFrame
from sr.data.source import Split
from sr.runtime.error import UserError

HELD_OUT_INTERVAL, MAX_HELD_OUT = 10, 20  # every tenth clip is tested on, 20 at most; as many are validated on
MIN_FRAMES = 20  # of a clip that is divided itself
TEST_SHARE, VAL_SHARE, GAP_SHARE = 0.2, 0.1, 0.1  # of the frames of such a clip


class ClipSplit(NamedTuple):
    """The blocks of consecutive frames of each set, and a sentence about them."""

    blocks: dict[Split, list[Sequence[ClipFrame]]]
    note: str


def split_clips(clips: Sequence[Sequence[ClipFrame]], option: str, is_held_out: bool) -> ClipSplit:
    """Divide clips; without `is_held_out` all are for training. Their order follows from a digest of their names.

    Raises `UserError`, which begins with `option`, if there is one clip of too few frames.
    """
    if not is_held_out:
        return ClipSplit({"train": list(clips), "val": [], "test": []}, "")
    if len(clips) == 1:
        return _split_clip(clips[0], option)
    ordered = sorted(clips, key=lambda clip: hashlib.sha256(clip[0].group.encode()).digest())
    count = max(1, min(MAX_HELD_OUT, len(clips) // HELD_OUT_INTERVAL))
    test = ordered[:count]
    val = ordered[count : 2 * count] if len(clips) > 2 else test
    train = [clip for clip in clips if clip not in test and clip not in val]
    return ClipSplit(
        {"train": train, "val": val, "test": test},
        f"of {len(clips)} clips, held out are {_list_names(val)} for the validation and {_list_names(test)} for the test",
    )


def _split_clip(clip: Sequence[ClipFrame], option: str) -> ClipSplit:
    """Hold out the last frames of a clip for the test, those before them for the validation."""
    count = len(clip)
    if count < MIN_FRAMES:
        raise UserError(
            f"{option}: expected several clips, or one of {MIN_FRAMES} frames or more (found one of {count} frames); add "
            "clips, or evaluate on others: data.val=[DIR] data.test=[DIR]"
        )
    first_test = count - round(TEST_SHARE * count)
    first_val = first_test - round(VAL_SHARE * count)
    last_train = first_val - round(GAP_SHARE * count)
    return ClipSplit(
        {"train": [clip[:last_train]], "val": [clip[first_val:first_test]], "test": [clip[first_test:]]},
        f"of the one clip's {count} frames, held out are {first_val + 1} to {first_test} for the validation and "
        f"{first_test + 1} to {count} for the test, {first_val - last_train} before them are not used; the numbers say "
        "nothing of other scenes",
    )


def _list_names(clips: Iterable[Sequence[ClipFrame]]) -> str:
    return ", ".join(clip[0].group for clip in clips)
