"""The manifest of `engine=ray`: Parquet files in `OUTPUT/predict.parquet`, for millions of images.

The other engines read it, too, and `engine=ray` reads theirs, `OUTPUT/predict.json`, so that each goes on where another one
was stopped.

Each part has the rows of some images, in the order in which they ended; of several rows of an image the last one counts.
Before images are handed out, their digests are in a file of `OUTPUT/.predict-begun`: what a killed command had begun may be
replaced by the next one.
"""

import io
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from pyarrow import parquet

from sr.prediction.engine.address import Store, open_store
from sr.prediction.manifest import CLUSTER_BEGUN as BEGUN
from sr.prediction.manifest import CLUSTER_RESULTS as NAME
from sr.prediction.manifest import Manifest
from sr.runtime.error import DiskError, UserError

DONE, REFUSED, FAILED = "done", "refused", "failed"  # refused: its file cannot be read, and is not tried again
FULL = "full"  # there is no room for its result: the command ends, and the manifest has no such row
MAX_ROWS, MAX_SECONDS = 1000, 30.0  # of a part


class ManifestRow(NamedTuple):
    """State what became of an image."""

    source: str  # address
    digest: str  # as `sr.prediction.manifest.digest_source`
    status: str
    target: str = ""  # below the folder of the results
    reason: str = ""
    width: int = 0
    height: int = 0
    frames: int = 0
    bytes: int = 0
    seconds: float = 0.0
    sha256: str = ""
    lost: tuple[str, ...] = ()  # what the source has and the result has not
    notes: tuple[str, ...] = ()
    worker: str = ""  # host and process
    ended: float = 0.0  # seconds since 1970


SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("source", "digest", "status", "target", "reason")]
    + [(name, pa.int64()) for name in ("width", "height", "frames", "bytes")]
    + [("seconds", pa.float64()), ("sha256", pa.string())]
    + [(name, pa.list_(pa.string())) for name in ("lost", "notes")]
    + [("worker", pa.string()), ("ended", pa.float64())]
)


class Known(NamedTuple):
    """State what the manifest says about a digest."""

    status: str
    target: str
    bytes: int
    ended: float  # seconds since 1970


class ParquetManifest:
    """The manifest in a folder of results; a context manager that writes the last rows at the end."""

    def __init__(self, folder: Store) -> None:
        self.folder = folder
        now = time.time_ns()
        date = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now // 10**9))
        self.run = f"{date}-{now % 10**9:09d}-{uuid.uuid4().hex[:8]}"  # parts are sorted by time
        self.known: dict[bytes, Known] = {}
        self.begun: set[bytes] = set()
        self._rows: list[ManifestRow] = []
        self._part, self._written = 0, time.monotonic()
        self._read()

    def find(self, digest: str) -> Known | None:
        """Return what became of the image of this digest."""
        return self.known.get(bytes.fromhex(digest))

    def is_begun(self, digest: str) -> bool:
        """Return True if an earlier command was ended while it worked on the image."""
        return bytes.fromhex(digest) in self.begun

    def begin(self, digests: list[str]) -> None:
        """Note that the work on images begins."""
        if digests:
            self._write(f"{BEGUN}/{self.run}-{self._next_part():06d}.txt", "".join(f"{d}\n" for d in digests).encode())

    def record(self, row: ManifestRow) -> None:
        """Append a row, and write a part when there are many or the last one is some time ago."""
        self._rows.append(row)
        if len(self._rows) >= MAX_ROWS or time.monotonic() - self._written > MAX_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the rows that are not written yet."""
        if self._rows:
            columns = zip(*self._rows, strict=True)
            table = pa.table(
                [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)], SCHEMA
            )
            content = io.BytesIO()
            parquet.write_table(table, content, compression="zstd")
            self._write(f"{NAME}/{self.run}-{self._next_part():06d}.parquet", content.getvalue())
        self._rows, self._written = [], time.monotonic()

    def close(self) -> None:
        """Write the last rows; nothing is begun any more that has none."""
        self.flush()
        self.folder.remove(BEGUN)

    def _next_part(self) -> int:
        self._part += 1
        return self._part

    def _write(self, name: str, content: bytes) -> None:
        try:
            self.folder.write(name, content)
        except Exception as error:  # each store has its own
            reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
            raise DiskError(f"{self.folder.join(name)}: cannot be written ({reason})") from None

    def _read(self) -> None:
        known = list(iterate_rows(self.folder))
        self.begun.update(iterate_begun(self.folder))
        if self.folder.is_local:
            for target, entry in Manifest(Path(self.folder.path), False).entries.items():
                if "digest" in entry and "bytes" not in entry:
                    self.begun.add(bytes.fromhex(entry["digest"]))
                elif "digest" in entry:
                    done = Known(DONE, target, entry["bytes"], entry.get("time", 0.0))
                    known.append((bytes.fromhex(entry["digest"]), done))
        last: dict[str, bytes] = {}  # target -> its digest: a result may have been replaced by one of other options
        for digest, one in sorted(known, key=lambda pair: pair[1].ended):
            self.known[digest] = one
            if one.status == DONE:
                last[one.target] = digest
        for digest, one in list(self.known.items()):
            if one.status == DONE and last[one.target] != digest:
                del self.known[digest]


def iterate_rows(folder: Store) -> Iterator[tuple[bytes, Known]]:
    """Yield what the parts of a manifest in a folder say, by digest. Raise `UserError` if one is damaged."""
    columns = ["digest", *Known._fields]
    for name in sorted(folder.list_sizes(NAME)):
        if not name.endswith(".parquet"):
            continue
        try:
            table = parquet.read_table(io.BytesIO(folder.read(f"{NAME}/{name}")), columns=columns)
            rows = list(zip(*(table[column].to_pylist() for column in columns), strict=True))
        except (pa.ArrowException, ValueError, TypeError, OSError, KeyError) as error:
            reason: Any = str(error).partition("\n")[0]
            raise UserError(
                f"{folder.join(f'{NAME}/{name}')}: expected a part of the manifest of sr.predict ({reason}); rename or remove it"
            ) from None
        for digest, *values in rows:
            yield bytes.fromhex(digest), Known(*values)


def iterate_begun(folder: Store) -> Iterator[bytes]:
    """Yield the digests of what killed commands had begun."""
    for name in folder.list_sizes(BEGUN):
        yield from (bytes.fromhex(line) for line in folder.read(f"{BEGUN}/{name}").decode().split())


def adopt_cluster_results(manifest: Manifest) -> None:
    """Add what `engine=ray` has noted in a folder of this machine to the manifest of the other engines."""
    folder = open_store(str(manifest.folder), "output")
    entries: dict[str, dict[str, Any]] = {}
    for digest, one in sorted(iterate_rows(folder), key=lambda pair: pair[1].ended):
        if one.status == DONE:
            entries[one.target] = {"digest": digest.hex(), "bytes": one.bytes, "time": one.ended}
    manifest.adopt(entries, (digest.hex() for digest in iterate_begun(folder)))
