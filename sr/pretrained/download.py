"""Download a file: with a progress bar, resumed after an interruption, put into place only when its checksum is right."""

import contextlib
import hashlib
import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

from sr.runtime.error import UserError
from sr.runtime.terminal import ProgressBar

MIN_DIGITS = 8  # of a checksum of which only the first digits are published
CHECKSUM = re.compile(rf"[0-9a-f]{{{MIN_DIGITS},64}}")
CHUNK_SIZE = 1 << 20  # bytes
TIMEOUT = 30  # seconds without a response


def download_file(url: str, path: Path, sha256: str) -> None:
    """Download `url` to `path`. A `.part` file of an interrupted download is continued; a wrong one is removed."""
    _check_digits(path, sha256)
    part = path.with_name(path.name + ".part")
    advice = f"Or download {url} elsewhere and put the file here: {path}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _download(url, part)
    except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise UserError(f"{url}: download failed ({reason}). Run again to continue it. {advice}") from None
    except OSError as error:
        raise UserError(f"{part}: cannot be written ({error.strerror or error})") from None
    try:
        verify_checksum(part, sha256)
    except UserError:
        part.unlink()
        raise UserError(
            f"{url}: the downloaded file has a wrong checksum (expected sha256 {sha256}) and was removed. {advice}"
        ) from None
    part.replace(path)


def verify_checksum(path: Path, sha256: str) -> None:
    """Raise unless the SHA-256 of the file is this, or begins with these digits if only some are published."""
    _check_digits(path, sha256)
    found = compute_sha256(path)
    if not found.startswith(sha256):
        raise UserError(
            f"{path}: wrong checksum, the file is damaged or cut off "
            f"(expected sha256 {sha256}, got {found}). Remove it and run again"
        )


def _check_digits(path: Path, sha256: str) -> None:
    """Raise if a checksum would accept any file, or none."""
    if not CHECKSUM.fullmatch(str(sha256)):
        raise UserError(
            f"sha256={sha256}: expected the 64 hexadecimal digits of {path.name}, or the first {MIN_DIGITS} at least"
        )


@contextlib.contextmanager
def lock_download(path: Path) -> Iterator[None]:
    """Let one process at a time download `path`, of several that start at once; no lock file stays."""
    lock = path.with_name(f".{path.name}.lock")
    with FileLock(lock):
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # Windows does not remove a file that is open
                lock.unlink()  # while it is locked: whoever has waited for it notices, and makes a new one


def compute_sha256(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(url: str, part: Path) -> None:
    size = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={size}-"} if size else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and size:  # the file is complete; its checksum is verified next
            return
        raise
    with response, part.open("ab" if response.status == 206 else "wb") as file:
        done = size if response.status == 206 else 0
        total = int(response.headers.get("Content-Length", 0)) + done
        with ProgressBar(total=total or None, initial=done, desc=part.stem, unit="B", unit_scale=True) as bar:
            while block := response.read(CHUNK_SIZE):
                file.write(block)
                bar.update(len(block))
    if total and part.stat().st_size < total:
        raise ConnectionError(f"the connection was lost after {part.stat().st_size} of {total} bytes")
