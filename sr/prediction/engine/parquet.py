"""The manifest of `engine=ray`: Parquet files in `OUTPUT/predict.parquet`, for millions of images.

Each part has the rows of some images, in the order in which they ended; of several rows of an image the last one counts.
Before images are handed out, their digests are in a file of `OUTPUT/.predict-begun`: what a killed command had begun may be
replaced by the next one.
"""

import io
import time
import uuid
from typing import Any, NamedTuple

import pyarrow as pa
from pyarrow import parquet

from sr.prediction.engine.address import Store
from sr.runtime.error import DiskError, UserError

NAME, BEGUN = "predict.parquet", ".predict-begun"
DONE, REFUSED, FAILED = "done", "refused", "failed"  # refused: its file cannot be read, and is not tried again
FULL = "full"  # there is no room for its result: the command ends, and the manifest has no such row
MAX_ROWS, MAX_SECONDS = 1000, 30.0  # of a part


class ManifestRow(NamedTuple):
    """State what became of an image."""

    source: str  # address
    digest: str  # of source, network and options, 32 hexadecimal digits
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
        for name in sorted(self.folder.list_sizes(NAME)):
            if name.endswith(".parquet"):
                self._read_part(f"{NAME}/{name}")
        for name in self.folder.list_sizes(BEGUN):
            self.begun.update(bytes.fromhex(line) for line in self.folder.read(f"{BEGUN}/{name}").decode().split())

    def _read_part(self, name: str) -> None:
        try:
            columns = ["digest", "status", "target", "bytes"]
            table = parquet.read_table(io.BytesIO(self.folder.read(name)), columns=columns)
            for digest, *values in zip(*(table[column].to_pylist() for column in columns), strict=True):
                self.known[bytes.fromhex(digest)] = Known(*values)
        except (pa.ArrowException, ValueError, TypeError, OSError) as error:
            reason: Any = str(error).partition("\n")[0]
            raise UserError(
                f"{self.folder.join(name)}: expected a part of the manifest of sr.predict ({reason}); rename or remove it"
            ) from None
