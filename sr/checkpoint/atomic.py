"""Writing files so that a kill at any moment leaves each of them whole, the new one or the one before."""

import io
import os
import shutil
from pathlib import Path
from typing import Any

import torch


def write_checkpoint(content: dict[str, Any], file: Any) -> None:
    """Onto the disk, by way of memory: what PyTorch says of a full disk is not that it is full."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    file.write(buffer.getbuffer())
    file.flush()
    os.fsync(file.fileno())


def link_file(there: Path, path: Path) -> None:
    """`path` becomes the same file as `there`, or a copy where links cannot be; at no moment is it gone or cut off."""
    new = path.with_suffix(".link")
    new.unlink(missing_ok=True)
    try:
        os.link(there, new)
    except OSError:  # of a file system without links, or of two of them
        with there.open("rb") as source, new.open("wb") as file:
            shutil.copyfileobj(source, file)
            file.flush()
            os.fsync(file.fileno())
    new.replace(path)
    new.unlink(missing_ok=True)  # of two names of one file, `replace` leaves both


def sync_folder(folder: Path) -> None:
    """The names in a folder, too, are on the disk only when they were told to be; Windows has no such thing."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
