"""Kinds of files: those that are read, and others that are recognized, by content first and then by suffix, to be named."""

import gzip
import importlib
import re
import stat
import zlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sr.runtime.error import UserError, suggest_nearest

if TYPE_CHECKING:  # it imports torch
    from sr.image.file_format import FileFormat

# Each format that is read -> its module in sr/image/format, which is imported when a file of it is opened. The module has a
# `FileFormat` named FORMAT. No other decoder ever runs: EPS would start Ghostscript.
FORMATS = {
    "PNG": "png",
    "JPEG": "jpeg",
    "WEBP": "webp",
    "GIF": "gif",
    "AVIF": "avif",
    "BMP": "bmp",
    "TIFF": "tiff",
    "GeoTIFF": "geotiff",  # a kind of TIFF, which opens it
    "Netpbm": "netpbm",
    "TGA": "tga",
    "JPEG 2000": "jpeg2000",
    "HEIC": "heic",
    "DICOM": "dicom",
    "NIfTI": "nifti",
    "MP4": "mp4",
    "MOV": "mov",
    "MKV": "mkv",
    "WebM": "webm",
}
HAVE_NO_SIGNATURE = ("TGA",)  # recognized by suffix only
HEAD_BYTES = 1024  # of a file, enough for every signature
TO_PNG = "convert it to PNG"


class FileKind(NamedTuple):
    """A kind of file, and what to do with one if it is not read."""

    name: str
    advice: str = TO_PNG
    has_images: bool = True  # False: a document, which does not belong to a set of images

    @property
    def is_read(self) -> bool:
        """True if images of this kind are decoded."""
        return self.name in FORMATS

    @property
    def title(self) -> str:
        """The name with its article: `a PNG file`, `an AVIF file`."""
        return f"{'an' if self.name in SPOKEN_WITH_VOWEL else 'a'} {self.name} file"


SPOKEN_WITH_VOWEL = ("AVIF", "MP4", "MOV", "MKV", "Analyze", "EPS", "HDF5", "ICO", "NRRD", "OpenEXR", "SVG")
SLICES, REMUX = "save its slices as PNG", "make an MKV file of it: ffmpeg -i IN -c copy OUT.mkv"
KINDS = {
    kind.name: kind
    for kind in (
        *map(FileKind, ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "AVIF", "DDS", "EPS", "GIF", "HEIC", "ICO", "JPEG 2000")),
        *map(FileKind, ("JPEG XL", "Netpbm", "OpenEXR", "PFM", "Photoshop", "QOI", "Radiance HDR", "SVG", "TGA", "FITS")),
        FileKind("camera RAW"),
        FileKind("DICOM"), FileKind("DICOMDIR", "an index, whose images are files of their own", False),
        FileKind("NIfTI"), FileKind("Analyze", "save it as .nii"), FileKind("NRRD", SLICES), FileKind("MetaImage", SLICES),
        FileKind("video", REMUX), *map(FileKind, ("MP4", "MOV", "MKV", "WebM")),
        FileKind("whole-slide image"), FileKind("PDF", "save its images as PNG", False),
        FileKind("HDF5", "save its images as PNG", False), FileKind("NumPy", "save its images as PNG", False),
    )
}  # fmt: skip

SIGNATURES = (  # offset, bytes, kind; the first one that fits counts: a DICOM file may begin like a TIFF
    (128, b"DICM", "DICOM"), (344, b"n+1\0", "NIfTI"), (344, b"ni1\0", "NIfTI"), (4, b"n+2\0\r\n", "NIfTI"),
    (4, b"ni2\0\r\n", "NIfTI"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"), (0, b"\xff\xd8\xff", "JPEG"), (8, b"WEBP", "WEBP"), (8, b"AVI ", "video"),
    (8, b"CR\x02", "camera RAW"), (0, b"II*\0", "TIFF"), (0, b"MM\0*", "TIFF"), (0, b"II+\0", "TIFF"), (0, b"MM\0+", "TIFF"),
    (0, b"GIF8", "GIF"), (0, b"\0\0\0\x0cjP  ", "JPEG 2000"), (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL"), (0, b"\xff\x0a", "JPEG XL"), (0, b"8BPS", "Photoshop"), (0, b"%PDF", "PDF"),
    (0, b"%!PS", "EPS"), (0, b"\xc5\xd0\xd3\xc6", "EPS"), (0, b"\x76\x2f\x31\x01", "OpenEXR"), (0, b"#?R", "Radiance HDR"),
    (0, b"SIMPLE  =", "FITS"), (0, b"\x89HDF\r\n", "HDF5"), (0, b"\x93NUMPY", "NumPy"), (0, b"qoif", "QOI"),
    (0, b"DDS ", "DDS"), (0, b"\0\0\1\0", "ICO"), (0, b"NRRD000", "NRRD"), (0, b"FUJIFILMCCD-RAW", "camera RAW"),
    (0, b"IIRO", "camera RAW"), (0, b"IIU\0", "camera RAW"), (0, b"\x1a\x45\xdf\xa3", "MKV"),
    (4, b"moov", "MOV"), (4, b"wide", "MOV"), (4, b"mdat", "MOV"), (0, b"\0\0\1\xba", "video"),
    (0, b"\0\0\1\xb3", "video"), (0, b"OggS", "video"), (0, b"FLV\1", "video"), (0, b"YUV4MPEG2", "video"),
    (0, b"PF\n", "PFM"), (0, b"Pf\n", "PFM"), (0, b"\x5c\1\0\0", "Analyze"), (0, b"\0\0\1\x5c", "Analyze"),
)  # fmt: skip
PATTERNS = (  # of signatures that a text could begin with, if they were any shorter
    (re.compile(rb"BM.{4}\0\0\0\0|BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL), "BMP"),
    (re.compile(rb"P[1-7]\s+(#|\d|WIDTH)"), "Netpbm"),
    (re.compile(rb"\s*<.*<svg", re.DOTALL), "SVG"), (re.compile(rb"\s*<svg"), "SVG"),
)  # fmt: skip
DICOMDIR = re.compile(rb".{128}DICM.{0,64}1\.2\.840\.10008\.1\.3\.10[\0\2]", re.DOTALL)  # its MediaStorageSOPClassUID
BRANDS = {  # of ISO base media files, at byte 8
    **dict.fromkeys((b"avif", b"avis"), "AVIF"), b"crx ": "camera RAW",
    b"qt  ": "MOV", **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "HEIC"),
}  # fmt: skip
KINDS_BY_SUFFIX = {
    suffix: name
    for name, suffixes in {
        "PNG": ".png .apng", "JPEG": ".jpg .jpeg .jpe .jfif .jif", "WEBP": ".webp", "BMP": ".bmp .dib", "TIFF": ".tif .tiff",
        "AVIF": ".avif .avifs", "DDS": ".dds", "EPS": ".eps .ps", "GIF": ".gif", "HEIC": ".heic .heif .hif", "ICO": ".ico .cur",
        "JPEG 2000": ".jp2 .j2k .j2c .jpc .jpf .jpx", "JPEG XL": ".jxl", "Netpbm": ".ppm .pgm .pbm .pnm .pam", "PFM": ".pfm",
        "OpenEXR": ".exr", "Photoshop": ".psd .psb", "QOI": ".qoi", "Radiance HDR": ".hdr", "SVG": ".svg .svgz",
        "TGA": ".tga .icb .vda .vst", "FITS": ".fits .fit .fts", "HDF5": ".h5 .hdf5 .hdf", "NumPy": ".npy .npz",
        "camera RAW": ".arw .cr2 .cr3 .dng .nef .nrw .orf .pef .raf .raw .rw2 .srw .x3f", "DICOM": ".dcm .dicom .ima",
        "NIfTI": ".nii .nii.gz", "NRRD": ".nrrd .nhdr", "MetaImage": ".mha .mhd", "PDF": ".pdf",
        "MP4": ".mp4 .m4v .3gp", "MOV": ".mov .qt", "MKV": ".mkv", "WebM": ".webm",
        "video": ".avi .flv .m2ts .mpeg .mpg .mts .ogv .wmv .y4m .yuv",
        "whole-slide image": ".czi .lif .mrxs .nd2 .ndpi .scn .svs",
    }.items()
    for suffix in suffixes.split()
}  # fmt: skip

VIDEOS = ("MP4", "MOV", "MKV", "WebM")  # their frames are read, but they are no images of a set
SUFFIXES = tuple(
    suffix for suffix, name in KINDS_BY_SUFFIX.items() if name in FORMATS and name not in VIDEOS
)  # of images
TIFF_LAYOUTS = ("camera RAW", "whole-slide image")  # kinds that are TIFF files, whose first page is a preview


def identify_kind(path: Path) -> FileKind | None:
    """Return the kind of a file by its content, else by its suffix; None if neither is known, or it is no regular file."""
    suffix = read_suffix(path)
    by_suffix = KINDS_BY_SUFFIX.get(suffix)
    by_content = _identify_content(read_head(path))
    if by_content == "TIFF" and by_suffix in TIFF_LAYOUTS:
        by_content = by_suffix
    has_signature = by_suffix in FORMATS and by_suffix not in HAVE_NO_SIGNATURE and not suffix.endswith(".gz")
    if by_content is None and has_signature:  # its name is wrong; the content of a damaged .gz is unknown
        return None
    return KINDS.get(by_content or by_suffix)


def list_names() -> list[str]:
    """Return the names of all formats as the option `format` takes them: `jpeg2000`."""
    return [known.lower().replace(" ", "") for known in FORMATS]


def find_format(name: str) -> "FileFormat":
    """Return the format of a name (`PNG`, `jpeg`, `jpeg2000`) or of a suffix (`.jpg`, `tif`), and import its module.

    Raises `UserError` if no format that is read or written has this name.
    """
    word = name.lower().removeprefix(".")
    names = dict(zip(list_names(), FORMATS, strict=True))
    found = names.get(word.replace(" ", ""), KINDS_BY_SUFFIX.get(f".{word}"))
    if found not in FORMATS:
        raise UserError(f"format={name}: expected {', '.join(names)}.{suggest_nearest(word, names)}")
    return importlib.import_module(f"sr.image.format.{FORMATS[found]}").FORMAT


def read_suffix(path: Path) -> str:
    """Return the suffix of a file name in small letters: `.png`, `.nii.gz`, or an empty string."""
    return "".join(path.suffixes[-2:]).lower() if path.suffix.lower() == ".gz" else path.suffix.lower()


def read_head(path: Path) -> bytes:
    """Return the first bytes of a regular file, of a compressed one those inside; empty if it cannot be read."""
    with suppress(OSError, EOFError, zlib.error):
        if not stat.S_ISREG(path.stat().st_mode):
            return b""
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        if not head.startswith(b"\x1f\x8b"):
            return head
        with gzip.open(path) as file:
            return file.read(HEAD_BYTES)
    return b""


def _identify_content(head: bytes) -> str | None:
    if head[4:8] == b"ftyp":
        return "AVIF" if head[8:12] == b"mif1" and b"avif" in head[16:64] else BRANDS.get(head[8:12], "MP4")
    found = (name for offset, mark, name in SIGNATURES if head.startswith(mark, offset))
    name = next(found, None)
    if name == "MKV" and b"\x42\x82\x84webm" in head:  # its DocType
        return "WebM"
    if name == "DICOM" and DICOMDIR.match(head):
        return "DICOMDIR"
    return name or next((name for pattern, name in PATTERNS if pattern.match(head)), None)
