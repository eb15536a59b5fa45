"""Name what is in an image file and not in the result that is written of it: frames, depth, alpha, EXIF, resolution."""

from collections.abc import Container

from PIL import Image

from sr.image.file_format import Header, ImageFile

DATES, CAMERA, GPS = (306, 36867, 36868), (271, 272), 34853  # EXIF
EXIF_IFD = 34665
SCREEN_DPI = (72, 96)  # what programs write where no resolution is known
APPLIED = {274, EXIF_IFD, 282, 283, 296}  # tags of EXIF that are no loss: orientation, resolution


def list_lost_parts(file: ImageFile, result: Header, held: tuple[str, ...]) -> list[str]:
    """Return the parts of an opened file that its result has not: `["3 of 4 frames", "GeoTIFF tags", "EXIF (date)"]`.

    `result` is the header of the result, and `held` are the fields of `Metadata` that its format holds.
    """
    header, lost = file.header, []
    if result.frames < header.frames:
        pages = "pages" if header.format == "TIFF" else "frames"
        lost.append(f"{header.frames - result.frames} of {header.frames} {pages}")
    if header.has_alpha and not result.has_alpha:
        lost.append("alpha")
    if result.dtype.itemsize < header.dtype.itemsize:
        lost.append(f"{8 * header.dtype.itemsize} bits per channel")
    metadata = file.metadata
    lost += metadata.unread
    lost += ["color profile"] * bool(metadata.icc and "icc" not in held)
    if metadata.exif and "exif" not in held:
        lost += describe_exif(metadata.exif)
    if metadata.dpi and "dpi" not in held and round(metadata.dpi[0]) not in (0, 1, *SCREEN_DPI):
        lost.append(f"resolution ({metadata.dpi[0]:.0f} DPI)")
    lost += ["XMP"] * bool(metadata.xmp and "xmp" not in held)
    if result.format != header.format:
        lost += getattr(metadata.native, "names", ())
    lost += ["text"] * any(
        key not in held for key in metadata.texts if "texts" not in held and not key.startswith("sr:")
    )
    if result.frames > 1:
        lost += ["durations"] * bool(metadata.durations and "durations" not in held)
    return lost


def describe_exif(exif: bytes | Image.Exif, ignored: Container[int] = APPLIED) -> list[str]:
    """Return `["EXIF (date, camera, GPS)"]`, or an empty list if nothing is in it but the tags `ignored`."""
    if isinstance(exif, bytes):
        loaded = Image.Exif()
        loaded.load(exif)
        exif = loaded
    inner = exif.get_ifd(EXIF_IFD)
    parts = ["date"] * any(tag in exif or tag in inner for tag in DATES)
    parts += ["camera"] * any(tag in exif for tag in CAMERA)
    parts += ["GPS"] * (GPS in exif)
    if parts:
        return [f"EXIF ({', '.join(parts)})"]
    return ["EXIF"] if inner or any(tag not in ignored for tag in exif) else []
