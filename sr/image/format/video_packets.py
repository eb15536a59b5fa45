"""Store encoded frames in a file next to the result, segment by segment, so that a stopped video goes on where it was.

Each segment was made by an encoder of its own, and so is the same whether the process was stopped before it or not. What a
killed process has left of an incomplete segment is cut off.
"""

import contextlib
import os
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, NamedTuple

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_RECORD = struct.Struct("<cqIB")  # kind, number, size or checksum, key frame
HEAD, PACKET, END = b"H", b"P", b"E"


class StoredPacket(NamedTuple):
    """An encoded frame: its number in the order of showing, and where its bytes are."""

    frame: int
    is_key: bool
    offset: int
    size: int


class PacketFile:
    """The encoded frames of one video, in the order of decoding.

    Attributes:
        packets: those of complete segments.
        frames: the number of frames in complete segments.
    """

    def __init__(self, path: Path, head: bytes) -> None:
        """Open or create the file; `head` describes the encoder, and what another one has written is discarded."""
        self.path, self.packets, self.frames = path, [], 0
        self._new: list[StoredPacket] = []  # of the current segment
        self._checksum = 0
        self._file: BinaryIO = self._open()
        self._file.seek(0)
        if not self._read(head):
            self.packets, self.frames = [], 0
            self._file.seek(0)
            self._file.truncate()
            self._write(HEAD, 0, len(head), False, head)
        else:
            self._file.truncate()
        self._checksum = 0

    def append(self, frame: int, is_key: bool, data: bytes) -> None:
        """Append an encoded frame to the current segment."""
        offset = self._file.seek(0, os.SEEK_CUR) + _RECORD.size
        self._write(PACKET, frame, len(data), is_key, data)
        self._new.append(StoredPacket(frame, is_key, offset, len(data)))
        self._checksum = zlib.crc32(data, self._checksum)

    def end_segment(self, frames: int) -> None:
        """Complete the current segment: `frames` in all are encoded, and survive a power failure from now on."""
        self._write(END, frames, self._checksum, False, b"")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.packets += self._new
        self._new, self._checksum, self.frames = [], 0, frames

    def read(self, packet: StoredPacket) -> bytes:
        """Return the bytes of an encoded frame."""
        self._file.seek(packet.offset)
        return self._file.read(packet.size)

    def close(self) -> None:
        """Close the file, which stays."""
        self._file.close()

    def remove(self) -> None:
        """Close the file and remove it."""
        self.close()
        with contextlib.suppress(OSError):
            self.path.unlink()

    def _open(self) -> BinaryIO:
        """Open the file for this process alone; if another one is at work on it, take another name."""
        file = os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.close()
                self.path = self.path.with_name(f"{self.path.name}-{os.getpid()}")
                return self._open()
        return file

    def _write(self, kind: bytes, number: int, size: int, is_key: bool, data: bytes) -> None:
        self._file.write(_RECORD.pack(kind, number, size, is_key) + data)

    def _read(self, head: bytes) -> bool:
        """Read all complete segments, and stand behind the last one; return False if the file is not of this encoder."""
        end, new, checksum = 0, [], 0
        while len(record := self._file.read(_RECORD.size)) == _RECORD.size:
            kind, number, size, is_key = _RECORD.unpack(record)
            if kind == END:
                if size != checksum:
                    break
                self.packets += new
                new, checksum, self.frames, end = [], 0, number, self._file.seek(0, os.SEEK_CUR)
                continue
            offset, data = self._file.seek(0, os.SEEK_CUR), self._file.read(size)
            if len(data) < size or kind not in (HEAD, PACKET):
                break
            if kind == HEAD:
                if data != head or end:
                    return False
                end = self._file.seek(0, os.SEEK_CUR)
            else:
                checksum = zlib.crc32(data, checksum)
                new.append(StoredPacket(number, bool(is_key), offset, size))
        self._file.seek(end)
        return end > 0
