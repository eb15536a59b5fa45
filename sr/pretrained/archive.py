"""Check the zip archive of a `.pth`, `.ckpt` or `.npz` file before it is decoded; without importing torch.

`torch.load` verifies no checksum, so that a file with flipped bits gives a net with other weights. `.safetensors` files and
those of PyTorch before 1.6 have no checksums.
"""

import zipfile
import zlib
from collections import Counter
from pathlib import Path

MAX_EXPANSION = (
    100  # bytes in memory for each byte on disk; torch.save does not compress, and trained weights hardly shrink
)
FREE_BYTES = 1 << 26  # that any file may expand to


def is_intact(path: Path) -> bool:
    """Return True if a file is an archive of `torch.save` of which every byte is as it was written."""
    return zipfile.is_zipfile(path) and find_defect(path) is None


def find_defect(path: Path) -> str | None:
    """Return why an archive must not be decoded; None if nothing was found, or if the file is no archive."""
    try:
        if not zipfile.is_zipfile(path):
            return None
        with zipfile.ZipFile(path) as archive:
            return _find_entry_defect(archive, path.stat().st_size)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        return str(error) or type(error).__name__


def _find_entry_defect(archive: zipfile.ZipFile, file_size: int) -> str | None:
    entries = archive.infolist()
    name, count = Counter(entry.filename for entry in entries).most_common(1)[0] if entries else ("", 0)
    if count > 1:
        return f"{name} is in it {count} times"
    size = sum(entry.file_size for entry in entries)
    if size > max(FREE_BYTES, MAX_EXPANSION * file_size):
        return f"{file_size / 1e6:.1f} MB that expand to {size / 1e9:.1f} GB"
    if not any(entry.CRC for entry in entries):  # written without: torch.serialization.set_crc32_options(False)
        return None
    damaged = archive.testzip()
    return damaged and f"the checksum of {damaged} is wrong"
