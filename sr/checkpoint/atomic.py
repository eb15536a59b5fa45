"""Write files so that a kill at any moment leaves each of them intact: the new one, or the one before."""

import io
import os
import shutil
from pathlib import Path
from typing import Any

import torch

from sr.record.checkpoint_files import LINK_SUFFIX
from sr.record.run_file import create_file


def write_checkpoint(content: dict[str, Any], file: Any) -> None:
    """Write a checkpoint to an open file and the disk, via memory: PyTorch's error for a full disk does not name it."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    file.write(buffer.getbuffer())
    file.flush()
    os.fsync(file.fileno())


def link_file(source: Path, target: Path) -> None:
    """Make `target` a hard link to `source`, or a copy if there are no links; `target` is never missing or truncated."""
    new = target.with_suffix(LINK_SUFFIX)
    new.unlink(missing_ok=True)
    try:
        os.link(source, new)
    except OSError:  # a file system without hard links, or two file systems
        with source.open("rb") as reader, create_file(new) as writer:
            shutil.copyfileobj(reader, writer)
            writer.flush()
            os.fsync(writer.fileno())
    new.replace(target)
    new.unlink(missing_ok=True)  # `replace` leaves both names if they are of one file


def sync_folder(folder: Path) -> None:
    """Write the file names of a folder to the disk, which POSIX does only on request; Windows has no such call."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
