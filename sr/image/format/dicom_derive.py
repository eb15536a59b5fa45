"""Adapt the header of a DICOM file to its upscaled image: new identifiers, what it is derived from, and the kind of its pixels.

Everything else is copied as it is, byte by byte where the source is little endian: names stay, in whatever character set.
"""

import copy
import hashlib
import uuid
from typing import TYPE_CHECKING

import torch

from sr.image.file_format import Header, WriteOptions
from sr.image.format.dicom_geometry import scale_geometry
from sr.image.format.dicom_header import DicomSource
from sr.image.format.dicom_range import PROGRAM

if TYPE_CHECKING:
    from pydicom import Dataset

EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
LOSSY = ("4.50", "4.51", "4.81", "4.91", "4.203")  # transfer syntaxes, after 1.2.840.10008.1.2.
IMPLEMENTATION = f"2.25.{uuid.uuid5(uuid.NAMESPACE_DNS, 'sr.predict').int}"  # ImplementationClassUID
MAX_TEXT, MAX_NAME = 1024, 64  # characters of an ST and an LO
PALETTES = (0x1101, 0x1102, 0x1103, 0x1199, 0x1201, 0x1202, 0x1203, 0x1221, 0x1222, 0x1223)  # of group 0028
# Of the old size or pixels: limits, an icon, signatures, offsets of compressed frames, the time at which the file was created.
REMOVED = (
    0x00080012, 0x00080013, 0x00280106, 0x00280107, 0x00280108, 0x00280109, 0x00880200, 0x4FFE0001, 0xFFFAFFFA, 0xFFFCFFFC,
    0x7FE00001, 0x7FE00002,
)  # fmt: skip


def derive_dataset(source: DicomSource, header: Header, offset: int, options: WriteOptions) -> "Dataset":
    """Return the header of the result of a file, with its file meta information."""
    dataset = copy.deepcopy(source.dataset)
    _require_explicit(dataset)
    scale_geometry(dataset, header.height / source.layout.rows, header.width / source.layout.columns)
    _remove_parts(dataset)
    _describe_pixels(dataset, source, header, offset)
    _describe_derivation(dataset, source, options)
    _identify(dataset, source, options)
    return dataset


def create_uid(*words: str) -> str:
    """Return the UID of some words, always the same one (PS3.5, B.2: a UUID as a number)."""
    digest = hashlib.sha256("\n".join(words).encode()).digest()
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=4).int}"


def _require_explicit(dataset: "Dataset") -> None:
    """Give each element of an implicit data set its VR, but leave the bytes of its value as they are."""
    from pydicom.datadict import dictionary_VR, private_dictionary_VR
    from pydicom.dataelem import RawDataElement

    if not dataset.is_little_endian:
        _swap_words(dataset)
        return
    for tag in list(dataset.keys()):
        element = dataset.get_item(tag)
        vr = element.VR
        if isinstance(element, RawDataElement) and vr is None:
            try:
                vr = private_dictionary_VR(tag, dataset.private_creator(tag)) if tag.is_private else dictionary_VR(tag)
            except KeyError:
                vr = "LO" if tag.is_private_creator else "UN"
            if len(vr) == 2 and vr != "SQ":
                dataset[tag] = element._replace(VR=vr, is_implicit_VR=False)
        if vr == "SQ":
            for item in dataset[tag].value:
                _require_explicit(item)
        elif len(vr) > 2:  # `US or SS`: depends on PixelRepresentation
            _ = dataset[tag]
    dataset.set_original_encoding(False, True, dataset.original_character_set)


def _swap_words(dataset: "Dataset") -> None:
    """Turn words of 16 bits that pydicom leaves as they are into little endian."""
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                _swap_words(item)
        elif element.VR == "OW" and isinstance(element.value, bytes):
            words = bytearray(element.value)
            words[::2], words[1::2] = element.value[1::2], element.value[::2]
            element.value = bytes(words)


def _remove_parts(dataset: "Dataset") -> None:
    for tag in list(dataset.keys()):
        if tag in REMOVED or tag.group >> 8 in (0x60, 0x50):
            del dataset[tag]


def _describe_pixels(dataset: "Dataset", source: DicomSource, header: Header, offset: int) -> None:
    layout, is_deep = source.layout, header.dtype == torch.uint16
    dataset.Rows, dataset.Columns = header.height, header.width
    dataset.SamplesPerPixel = header.channels
    if header.channels == 3:
        dataset.PlanarConfiguration = 0
    elif "PlanarConfiguration" in dataset:
        del dataset.PlanarConfiguration
    if layout.is_gray and header.channels == 1:
        dataset.HighBit = layout.stored - 1
        dataset.BitsStored, dataset.BitsAllocated = layout.stored, layout.allocated
        _state_limits(dataset, header, offset)
        return
    dataset.PhotometricInterpretation = "RGB" if header.channels == 3 else "MONOCHROME2"
    dataset.BitsAllocated = 16 if is_deep else 8
    dataset.BitsStored = layout.stored if is_deep and layout.samples == 3 else dataset.BitsAllocated
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, 0
    for tag in [tag for tag in dataset.keys() if tag.group == 0x28 and tag.element in PALETTES]:  # noqa: SIM118
        del dataset[tag]
    if header.channels == 1 and "ICCProfile" in dataset:
        del dataset.ICCProfile


def _state_limits(dataset: "Dataset", header: Header, offset: int) -> None:
    """State the range of the series, to which results are clipped: it is that of whoever reads them again."""
    limits = sorted(round(value) - offset for value in (header.black, header.white))
    lowest = -(1 << (dataset.BitsStored - 1)) if dataset.PixelRepresentation else 0
    if header.dtype == torch.uint16 and lowest <= limits[0] and limits[1] < lowest + (1 << dataset.BitsStored):
        vr = "SS" if dataset.PixelRepresentation else "US"
        for tag, value in zip((0x00280108, 0x00280109), limits, strict=True):
            dataset.add_new(tag, vr, value)


def _describe_derivation(dataset: "Dataset", source: DicomSource, options: WriteOptions) -> None:

    kind = [str(value) for value in _as_list(dataset.get("ImageType"))]
    is_grouped = "SharedFunctionalGroupsSequence" in dataset  # its images stay PRIMARY: C.8.16.1.2
    dataset.ImageType = ["DERIVED", kind[1] if is_grouped and len(kind) > 1 else "SECONDARY", *kind[2:]]
    what = options.process or "upscaled"
    text = f"{what} (sr.predict): details are estimated by a neural network, not measured"
    name = str(dataset.get("SeriesDescription") or "")
    dataset.SeriesDescription = f"{name[: MAX_NAME - len(what) - 3]} ({what})" if name else what[:MAX_NAME]
    if source.syntax.removeprefix("1.2.840.10008.1.2.") in LOSSY:
        dataset.LossyImageCompression = "01"  # once lossy, always lossy
    if is_grouped:
        _describe_groups(dataset, source, text)
    else:
        _add_derivation(dataset, source, text)


def _add_derivation(part: "Dataset", source: DicomSource, text: str) -> None:
    """State what an image, or a group of frames, is derived from, and how (C.7.6.1.1.3, C.7.6.16.2.6)."""
    from pydicom import Dataset

    before = str(part.get("DerivationDescription") or "")
    part.DerivationDescription = f"{before}; {text}"[-MAX_TEXT:] if before else text
    part.DerivationCodeSequence = [_create_code("113085", "Spatial resampling")]
    if source.dataset.get("SOPInstanceUID"):
        reference = Dataset()
        reference.ReferencedSOPClassUID = source.dataset.get("SOPClassUID", "")
        reference.ReferencedSOPInstanceUID = source.dataset.SOPInstanceUID
        reference.PurposeOfReferenceCodeSequence = [
            _create_code("121322", "Source image for image processing operation")
        ]
        part.SourceImageSequence = [reference]


def _describe_groups(dataset: "Dataset", source: DicomSource, text: str) -> None:
    """State the derivation in the functional groups of a multi-frame image, and the type of each frame."""
    from pydicom import Dataset

    shared = list(dataset.SharedFunctionalGroupsSequence)
    frames = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])
    for group in [group for group in frames if group.get("DerivationImageSequence")] or shared:
        derivation = next(iter(group.get("DerivationImageSequence") or []), Dataset())
        _add_derivation(derivation, source, text)
        group.DerivationImageSequence = [derivation]
    for group in shared + frames:
        for element in group:
            if element.keyword.endswith("FrameTypeSequence"):
                for item in element.value:
                    kind = [str(value) for value in _as_list(item.get("FrameType"))]
                    item.FrameType = ["DERIVED", *kind[1:]]
    study, series, instance = Dataset(), Dataset(), Dataset()
    instance.ReferencedSOPClassUID = source.dataset.get("SOPClassUID", "")
    instance.ReferencedSOPInstanceUID = source.dataset.get("SOPInstanceUID", "")
    series.SeriesInstanceUID, series.ReferencedSOPSequence = source.dataset.get("SeriesInstanceUID", ""), [instance]
    study.StudyInstanceUID, study.ReferencedSeriesSequence = source.dataset.get("StudyInstanceUID", ""), [series]
    dataset.SourceImageEvidenceSequence = [study]


def _identify(dataset: "Dataset", source: DicomSource, options: WriteOptions) -> None:
    """Give new UIDs: the same for all files of a series that the same network upscales with the same options."""
    from pydicom.dataset import FileMetaDataset

    old = source.dataset
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "ConcatenationUID", "SOPInstanceUIDOfConcatenationSource"):
        known = str(old.get(keyword) or "")
        if known or (keyword.startswith(("SOPInstanceUID", "SeriesInstance")) and not keyword.endswith("Source")):
            unknown = f"{old.get('SeriesInstanceUID')} {old.get('InstanceNumber')} {source.offset}"
            setattr(dataset, keyword, create_uid(keyword, known or unknown, options.identity))
    dataset.file_meta = meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID") or old.file_meta.get("MediaStorageSOPClassUID", "")
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = EXPLICIT_LITTLE_ENDIAN
    meta.ImplementationClassUID, meta.ImplementationVersionName = IMPLEMENTATION, PROGRAM


def _create_code(value: str, meaning: str) -> "Dataset":
    from pydicom import Dataset

    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
    return code


def _as_list(value: object) -> list:
    if value is None or value == "":
        return []
    return [value] if isinstance(value, str) else list(value)
