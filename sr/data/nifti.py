"""`data=nifti data.path=DIR`: slices of NIfTI volumes, split by patient (pip install 'sr[medical]')."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from sr.data.slice import Slice
from sr.data.slice_module import SliceModule, VolumePart, is_flat, list_visible_files
from sr.image.damage import UnsupportedImageError
from sr.image.formats import identify_kind

if TYPE_CHECKING:
    from sr.image.format.nifti import NiftiFile

PATIENT = re.compile(
    r"sub-[0-9A-Za-z]+"
)  # in the name of a file or folder (BIDS, https://bids-specification.readthedocs.io)


class Nifti(SliceModule):
    """Gray volumes, each of a patient of its own unless its path names one, such as `sub-01`.

    Slices are the planes that sr.predict upscales: across the longest side of a voxel.
    """

    name, kind = "nifti", "NIfTI"
    default_range = "0.1 to 99.9 percentile of each volume, values beyond cut off; of unsigned 8 bits 0…255"

    def list_files(self, folder: Path) -> list[Path]:
        """List the NIfTI files, .nii and .nii.gz, in a folder and below it."""
        kinds = ((path, identify_kind(path)) for path in list_visible_files(folder))
        return [path for path, kind in kinds if kind is not None and kind.name == "NIfTI"]

    def read_part(self, path: Path, file: "NiftiFile") -> VolumePart:
        """Return the slices of a volume. Raise `UnsupportedImageError` if its voxels are colors."""
        header, across = file.header, file.planes.across
        if header.kind != "gray":
            raise UnsupportedImageError(f"{path}: expected gray (found color); leave it out")
        depth, patient = file.source.shape[across], PATIENT.search(path.as_posix())
        frames = [frame for frame in range(header.frames) if not is_flat(file, frame)]
        slices = [
            Slice(path, _name_frame(frame, depth, "xyz"[across], header.frames), "", header[:2], frame % depth,
                  (header.black, header.white), frame, header.frames, self.options)
            for frame in frames
        ]  # fmt: skip
        notes = tuple(f"{path.name}: {note}" for note in file.notes if "black and white" in note)
        return VolumePart(str(path), patient[0] if patient else "", slices, header.frames - len(frames), notes)


def _name_frame(frame: int, depth: int, axis: str, frames: int) -> str:
    """Return `z012`, of a volume with several times `t3_z012`."""
    time = f"t{frame // depth}_" * (frames > depth)
    return f"{time}{axis}{frame % depth:03d}"
