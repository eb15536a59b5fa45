"""Files at addresses: paths of this machine, or `s3://…`, `gs://…` and others that fsspec reads (https://filesystem-spec.readthedocs.io)."""

import contextlib
import os
import posixpath
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from sr.prediction.sources import is_address
from sr.runtime.error import UserError

VERSIONS = (
    "ETag",
    "etag",
    "md5Hash",
    "mtime",
    "LastModified",
    "updated",
    "created",
)  # what changes with a file's content


class Store(NamedTuple):
    """A folder of this machine, or a prefix of an object store."""

    system: AbstractFileSystem
    path: str

    @property
    def is_local(self) -> bool:
        """True if it is a folder of a file system of this machine."""
        return isinstance(self.system, LocalFileSystem)

    def join(self, name: str) -> str:
        """Return the path of what is below it."""
        return posixpath.join(self.path, name)

    def list_sizes(self, below: str = "") -> dict[str, int]:
        """Return the names of the files directly in it, or in a folder below, with their bytes."""
        try:
            entries = self.system.ls(self.join(below), detail=True, refresh=True)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except Exception as error:  # each store has its own
            raise UserError(f"output={self.path}: cannot be listed ({type(error).__name__}: {error})") from None
        return {posixpath.basename(entry["name"]): entry["size"] for entry in entries if entry["type"] == "file"}

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        return self.system.cat_file(self.join(name))

    def write(self, name: str, content: bytes) -> None:
        """Write a file atomically."""
        path = self.join(name)
        if not self.is_local:
            self.system.pipe_file(path, content)
            return
        temporary = Path(path).with_name(f".{uuid.uuid4().hex}.part")
        temporary.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        temporary.replace(path)

    def publish(self, file: Path, name: str) -> None:
        """Move a complete local file to its name, atomically; in a local folder it is on the same file system."""
        path = self.join(name)
        if not self.is_local:
            self.system.put_file(str(file), path)
            return
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        file.replace(path)

    def remove(self, name: str) -> None:
        """Remove a file or folder below it, if there is one."""
        with contextlib.suppress(FileNotFoundError):
            self.system.rm(self.join(name), recursive=True)


def open_store(address: str, option: str) -> Store:
    """Return the folder of an address or a path; nothing is read. Raise `UserError` if its kind is unknown."""
    try:
        system, path = url_to_fs(address if is_address(address) else os.path.abspath(Path(address).expanduser()))  # noqa: PTH100
    except (ImportError, ValueError) as error:
        raise UserError(f"{option}={address}: fsspec cannot open this address ({error})") from None
    return Store(system, path.rstrip("/") or path)


def describe_version(entry: Mapping[str, Any]) -> str:
    """Return what identifies the content of a file, of its entry in a listing: its size, and its hash or time."""
    return f"{entry['size']} {next((entry[key] for key in VERSIONS if entry.get(key) is not None), '')}"


@contextlib.contextmanager
def provide_file(address: str, folder: Path) -> Iterator[Path]:
    """Give the block a local file: the file itself, or a copy in `folder`."""
    source = open_store(address, "input")
    if source.is_local:
        yield Path(source.path)
        return
    own = folder / uuid.uuid4().hex
    own.mkdir()
    copy = own / posixpath.basename(source.path)
    try:
        source.system.get_file(source.path, str(copy))
        yield copy
    finally:
        shutil.rmtree(own, ignore_errors=True)
