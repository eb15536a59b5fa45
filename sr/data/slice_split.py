"""Divide slices into training, validation and test set: by patients, never by slices, whose neighbors are nearly equal.

Of one volume alone a contiguous block of slices is held out, with a gap that is not used. That is the same patient: such
numbers say nothing of others, and this is printed.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from sr.data.slice import Slice
from sr.data.source import Split
from sr.runtime.error import UserError

HELD_OUT_INTERVAL, MAX_HELD_OUT = 10, 20  # every tenth patient is tested on, 20 at most; as many are validated on
MIN_POSITIONS = 10  # of a volume that is divided itself
TEST_SHARE, VAL_SHARE = 0.2, 0.1  # of the positions of such a volume
GAP = 2  # positions between its training and its validation set


class Volume(NamedTuple):
    """A volume: the slices of one file or series."""

    patient: str  # what identifies the patient; never shown, nor stored
    slices: Sequence[Slice]


class SliceSplit(NamedTuple):
    """The slices of each set, and a sentence about them."""

    slices: dict[Split, list[Slice]]
    note: str


def split_slices(volumes: Sequence[Volume], option: str, is_held_out: bool) -> SliceSplit:
    """Divide volumes; without `is_held_out` all are for training.

    The order of patients follows from a digest of what identifies them: it does not depend on names of files. Raises
    `UserError`, which begins with `option`, if there is one patient with several volumes: they show the same anatomy.
    """
    if not is_held_out:
        return SliceSplit({"train": _join(volumes), "val": [], "test": []}, "")
    patients = sorted({volume.patient for volume in volumes}, key=lambda x: hashlib.sha256(x.encode()).digest())
    if len(patients) > 1:
        return _split_patients(volumes, patients)
    if len(volumes) > 1:
        raise UserError(
            f"{option}: expected several patients, or one volume (found {len(volumes)} volumes of one patient, which show "
            "the same anatomy); name the folder of one of them, or evaluate on another patient: data.val=[DIR] "
            "data.test=[DIR]"
        )
    return _split_volume(volumes[0], option)


def _split_patients(volumes: Sequence[Volume], patients: Sequence[str]) -> SliceSplit:
    count = max(1, min(MAX_HELD_OUT, len(patients) // HELD_OUT_INTERVAL))
    test = set(patients[:count])
    val = set(patients[count : 2 * count]) if len(patients) > 2 else test
    parts: dict[Split, list[Slice]] = {
        "train": _join(volume for volume in volumes if volume.patient not in test | val),
        "val": _join(volume for volume in volumes if volume.patient in val),
        "test": _join(volume for volume in volumes if volume.patient in test),
    }
    same = ", the same one for both" if val == test else ""
    return SliceSplit(
        parts,
        f"of {len(patients)} patients, {len(val)} held out for the validation and {len(test)} for the test{same}",
    )


def _split_volume(volume: Volume, option: str) -> SliceSplit:
    """Hold out the last positions of a volume for the test, those before them for the validation."""
    positions = sorted({one.position for one in volume.slices})
    count = len(positions)
    if count < MIN_POSITIONS:
        raise UserError(
            f"{option}: expected several patients, or a volume of {MIN_POSITIONS} slices or more (found one patient with "
            f"{count} slices); add patients, or evaluate on others: data.val=[DIR] data.test=[DIR]"
        )
    first_test = count - max(1, round(TEST_SHARE * count))
    first_val = first_test - max(1, round(VAL_SHARE * count))
    place = {position: k for k, position in enumerate(positions)}
    parts: dict[Split, list[Slice]] = {"train": [], "val": [], "test": []}
    for one in volume.slices:
        k = place[one.position]
        if k < first_val - GAP:
            parts["train"].append(one)
        elif k >= first_val:
            parts["test" if k >= first_test else "val"].append(one)
    return SliceSplit(
        parts,
        f"of one patient's {count} slices, held out are {first_val + 1} to {first_test} for the validation and "
        f"{first_test + 1} to {count} for the test, {GAP} before them are not used; the numbers say nothing of other "
        "patients",
    )


def _join(volumes: Sequence[Volume]) -> list[Slice]:
    return [one for volume in volumes for one in volume.slices]
