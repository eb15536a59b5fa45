"""A file from the network: progress bar, resumed after a break, checksum verified, renamed into place only when whole."""

import hashlib
import http.client
import urllib.error
import urllib.request
from pathlib import Path

from tqdm import tqdm

from sr.runtime.error import UserError

CHUNK = 1 << 20
TIMEOUT = 30  # seconds without an answer


def download_file(url: str, path: Path, sha256: str) -> None:
    """Bring `url` to `path`. A `.part` file left by a break is continued; one that proves wrong is removed."""
    part = path.with_name(path.name + ".part")
    by_hand = f"Or download {url} elsewhere and put the file here: {path}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _download(url, part)
    except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise UserError(f"{url}: download failed ({reason}). Run again to continue it. {by_hand}") from None
    except OSError as error:
        raise UserError(f"{part}: cannot be written ({error.strerror or error})") from None
    try:
        verify_checksum(part, sha256)
    except UserError:
        part.unlink()
        raise UserError(
            f"{url}: what came has a wrong checksum (expected sha256 {sha256}) and was removed. {by_hand}"
        ) from None
    part.replace(path)


def verify_checksum(path: Path, sha256: str) -> None:
    """Raise unless the file has this checksum, or one that begins with these digits, where no more are published."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(sha256):
        raise UserError(
            f"{path}: wrong checksum, the file is damaged or cut off "
            f"(expected sha256 {sha256}, got {found}). Remove it and run again"
        )


def _download(url: str, part: Path) -> None:
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing is left to fetch: the checksum will judge
            return
        raise
    with answer, part.open("ab" if answer.status == 206 else "wb") as file:
        done = have if answer.status == 206 else 0
        total = int(answer.headers.get("Content-Length", 0)) + done
        with tqdm(total=total or None, initial=done, desc=part.stem, unit="B", unit_scale=True) as bar:
            while block := answer.read(CHUNK):
                file.write(block)
                bar.update(len(block))
    if total and part.stat().st_size < total:
        raise ConnectionError(f"the connection broke after {part.stat().st_size} of {total} bytes")
