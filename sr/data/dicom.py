"""`data=dicom data.path=DIR`: slices of DICOM series, split by patient (pip install 'sr[medical]')."""

from pathlib import Path
from typing import TYPE_CHECKING

from sr.data.slice import Slice
from sr.data.slice_module import SliceModule, VolumePart, is_flat, list_visible_files
from sr.image.damage import UnsupportedImageError
from sr.image.formats import identify_kind

if TYPE_CHECKING:
    from sr.image.format.dicom import DicomFile


class Dicom(SliceModule):
    """Gray DICOM images. What identifies a patient (PatientID) serves the split, and is shown and stored nowhere."""

    name, kind = "dicom", "DICOM"
    default_range = "smallest to largest value of each series, of unsigned 8 bits 0…255"

    def list_files(self, folder: Path) -> list[Path]:
        """List the DICOM files in a folder and below it, whatever their names are; an index (DICOMDIR) is none."""
        kinds = ((path, identify_kind(path)) for path in list_visible_files(folder))
        return [path for path, kind in kinds if kind is not None and kind.name == "DICOM"]

    def read_part(self, path: Path, file: "DicomFile") -> VolumePart:
        """Return the slices of a file. Raise `UnsupportedImageError` if its pixels are colors."""
        header = file.header
        if header.kind != "gray":
            raise UnsupportedImageError(f"{path}: expected gray (found color); leave it out")
        from sr.image.format.dicom_geometry import read_positions
        from sr.image.format.dicom_library import report_dicom_damage

        with report_dicom_damage(path):
            dataset = file.source.dataset
            series = str(dataset.get("SeriesInstanceUID") or path.parent)
            patient = str(dataset.get("PatientID") or dataset.get("StudyInstanceUID") or series)
            positions = read_positions(dataset, header.frames)
        frames = [frame for frame in range(header.frames) if not is_flat(file, frame)]
        slices = [
            Slice(path, f"{frame:03d}" * (header.frames > 1), "", header[:2], positions[frame],
                  (header.black, header.white), frame, header.frames, self.options)
            for frame in frames
        ]  # fmt: skip
        return VolumePart(series, patient, slices, header.frames - len(frames), file.notes)
