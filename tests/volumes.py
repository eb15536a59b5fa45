"""Small made-up volumes: DICOM series of one or several patients, and NIfTI files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

SECRETS = tuple("Qwx" + word for word in ("name", "number", "hospital"))  # what headers of the files say of the patient


def make_voxels(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """Return `[slices, H, W]`, int16 in -200…1000: ellipsoids that change from slice to slice, and a little noise."""
    rng = np.random.default_rng(seed)
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    voxels = np.full(shape, -200.0)
    for _ in range(6):
        center, radius = rng.uniform(-0.5, 0.5, 3), rng.uniform(0.2, 0.9, 3)
        distance = sum(((axis - c) / r) ** 2 for axis, c, r in zip((z, y, x), center, radius, strict=True))
        voxels[distance < 1] += rng.uniform(50, 250)
    return np.clip(voxels + rng.normal(0, 5, shape), -200, 1000).round().astype(np.int16)


def write_series(
    folder: Path, voxels: np.ndarray, patient: str = SECRETS[1], uid: str = "1.2.3.4", first: int = 0
) -> None:
    """Write a slice of each plane of `voxels`, 2 mm apart, named so that their names are not in the order of position."""
    pydicom = pytest.importorskip("pydicom", reason="needs sr[medical]")
    folder.mkdir(parents=True, exist_ok=True)
    for k, plane in enumerate(voxels):
        dataset = make_dataset(pydicom, plane, f"{uid}.{k + 1}")
        dataset.PatientName, dataset.PatientID, dataset.InstitutionName = SECRETS[0], patient, SECRETS[2]
        dataset.SeriesInstanceUID, dataset.StudyInstanceUID, dataset.InstanceNumber = uid, "1.2.3", k + 1
        dataset.ImagePositionPatient = [0, 0, 2.0 * k]
        dataset.save_as(folder / f"s{first + (7 * k) % len(voxels):03d}", enforce_file_format=True)


def make_dataset(pydicom: Any, plane: np.ndarray, uid: str) -> Any:
    """Return an MR image of these pixels, int16 `[H, W]`, without a patient."""
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = pydicom.uid.MRImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = uid
    dataset.Modality, dataset.ImageType = "MR", ["ORIGINAL", "PRIMARY"]
    dataset.Rows, dataset.Columns = plane.shape
    dataset.PixelSpacing, dataset.SliceThickness = [0.5, 0.75], 2
    dataset.ImageOrientationPatient, dataset.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 0]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 1
    dataset.PixelData = plane.astype("<i2").tobytes()
    return dataset


def write_volume(path: Path, voxels: np.ndarray, zooms: tuple[float, float, float] = (1, 1, 3)) -> Path:
    """Write `[slices, H, W]` as a NIfTI volume whose slices lie across z, with a patient's name where a header has room."""
    nibabel = pytest.importorskip("nibabel", reason="needs sr[medical]")
    image = nibabel.Nifti1Image(np.ascontiguousarray(voxels.transpose(2, 1, 0)), np.diag([*zooms, 1]))
    image.header["descrip"], image.header["db_name"] = SECRETS[0].encode(), SECRETS[1].encode()
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", SECRETS[2].encode()))
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)
    return path
