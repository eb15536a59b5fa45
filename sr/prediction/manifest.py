"""`predict.json`: the manifest of results, by which the next start recognizes those that are finished.

That of `engine=ray` is `predict.parquet` (`sr.prediction.engine.parquet`); both have the same digests, and all engines read both.

While a command runs, a journal of its own, `.predict-HOST-PID.jsonl`, gets a line when an image is begun and one when its result
is written; at the end it is merged into the manifest. If the process is killed, the next start reads the journal: only what was
begun and not finished is upscaled again. Several processes may write to one folder.
"""

import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from sr.checkpoint.load import LoadedNet
from sr.image.file_format import Header
from sr.prediction.process_name import is_process_ended, name_process
from sr.record.run_file import write_atomic
from sr.runtime.error import DiskError, UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

NAME = "predict.json"  # in a folder of results; hidden, `.predict.json`, among other files
JOURNALS = ".predict-*.jsonl"
CLUSTER_MANIFEST = CLUSTER_RESULTS, CLUSTER_BEGUN = "predict.parquet", ".predict-begun"  # of engine=ray
PROGRAM = "sr.predict"
# That change the pixels of a result.
RESULT_OPTIONS = ("ensemble", "tile", "overlap", "quality", "codec", "crf", "depth", "bands", "axis", "range")
TEMPORARY_NAME = re.compile(r"\.[0-9a-f]{32}\.part")  # of results while they are written
DIGEST_LENGTH = 32  # hexadecimal digits

Entry = dict[str, Any]


class Manifest:
    """The results in and below a folder.

    Attributes:
        entries: path of the result, relative to the folder -> what is known about it.
    """

    def __init__(self, folder: Path, is_hidden: bool) -> None:
        """Read the manifest of `folder`, and the journals that killed processes have left; nothing is created."""
        self.folder = Path(os.path.abspath(folder))  # noqa: PTH100  a link to a folder stays one
        paths = [self.folder / name for name in (NAME, f".{NAME}")]
        self.path = next((path for path in paths if path.exists()), paths[is_hidden])
        self._journal_path = self.folder / f".predict-{name_process()}.jsonl"
        self._journal: int | None = None
        self._begun: set[str] = set()
        self.entries = self._read()
        self._left = {journal: _read_journal(journal) for journal in self.folder.glob(JOURNALS)}
        for entries in self._left.values():
            _merge(self.entries, entries)

    def adopt(self, entries: Mapping[str, Entry], begun: Iterable[str]) -> None:
        """Add results that another manifest of the folder has, if they are later ones, and digests that are begun there.

        They are not written to this one.
        """
        for target, entry in entries.items():
            if self.entries.get(target, {}).get("time", 0) < entry["time"]:
                self.entries[target] = entry
        self._begun.update(begun)

    def name_folder(self, target: Path) -> str:
        """Return the folder of a result, relative to that of the manifest; an empty string for that itself."""
        folder, _, _ = self._name(target).rpartition("/")
        return folder

    def list_results(self) -> set[str]:
        """Return the absolute paths of all results, the sheets of `preview=true` among them."""
        return {os.path.normpath(self.folder / target) for target in self.entries}

    def has_result(self, target: Path) -> bool:
        """Return True if a file was written by this command."""
        return self._name(target) in self.entries

    def is_finished(self, target: Path, digest: str) -> bool:
        """Return True if a file is the complete result of this digest, as it was written."""
        entry = self.entries.get(self._name(target), {})
        try:
            return entry.get("digest") == digest and target.stat().st_size == entry.get("bytes")
        except OSError:
            return False

    def is_begun(self, target: Path, digest: str) -> bool:
        """Return True if a process was killed while it made the result of this digest: the file, if any, may be replaced."""
        entry = self.entries.get(self._name(target), {})
        return (entry.get("digest") == digest and "bytes" not in entry) or digest in self._begun

    def is_written(self, target: Path, digest: str) -> bool:
        """Return True if a process was killed between writing the result of this digest and noting it."""
        entry = self.entries.get(self._name(target), {})
        return self.is_begun(target, digest) and entry.get("existed") is False and target.exists()

    def begin(self, target: Path, digest: str) -> None:
        """Note that the work on a result begins; raise `DiskError` if that is not possible."""
        self.record(target, {"digest": digest, "existed": os.path.lexists(target)})

    def record(self, target: Path, entry: Entry) -> None:
        """Append the entry of a result to the journal; raise `DiskError` if that is not possible."""
        name, entry = self._name(target), {**entry, "time": round(time.time(), 3)}
        self.entries[name] = entry
        line = json.dumps({"target": name, **entry}) + "\n"
        try:
            if self._journal is None:
                self._journal = os.open(self._journal_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            os.write(self._journal, line.encode())
        except OSError as error:
            raise DiskError(f"{self._journal_path}: cannot be written ({error.strerror or error})") from None

    def remove_temporary_files(self, targets: Iterable[Path] = ()) -> None:
        """Remove the incomplete files of processes that were killed, unless another command is at work in the folder.

        They are next to what killed commands had begun, and next to `targets`.
        """
        if not all(map(self._is_ended, self.folder.glob(JOURNALS))):
            return
        begun = [target for entries in self._left.values() for target, entry in entries.items() if "bytes" not in entry]
        for folder in {*(path.parent for path in targets), *((self.folder / target).parent for target in begun)}:
            for path in folder.glob(".*.part"):
                if TEMPORARY_NAME.fullmatch(path.name):
                    path.unlink(missing_ok=True)

    def close(self, left_out: Sequence[Entry] = ()) -> None:
        """Merge the journal into `predict.json`, with what the command has not upscaled. Without any result nothing is written.

        Raises `DiskError` if it cannot be written; then the journal stays.
        """
        if self._journal is not None:
            os.close(self._journal)
            self._journal = None
        elif not self.path.exists():
            return
        try:
            with _lock_folder(self.folder):
                entries, journals = self._read(), [path for path in self.folder.glob(JOURNALS) if self._is_ended(path)]
                for journal in journals:
                    _merge(entries, _read_journal(journal))
                images = [
                    {"target": target, **entry}
                    for target, entry in sorted(entries.items())
                    if "bytes" in entry or (self.folder / target).exists()
                ]
                content = {"program": PROGRAM, "version": 1, "images": images, "left_out": list(left_out)}
                if images or self.path.exists():
                    write_atomic(self.path, json.dumps(content, indent=1) + "\n")
                for journal in journals:
                    journal.unlink(missing_ok=True)
        except OSError as error:
            raise DiskError(f"{self.path}: cannot be written ({error.strerror or error})") from None

    def _name(self, target: Path) -> str:
        return Path(os.path.relpath(target, self.folder)).as_posix()

    def _read(self) -> dict[str, Entry]:
        try:
            content = json.loads(self.path.read_bytes())
            if content["program"] != PROGRAM:
                raise KeyError
            return {image.pop("target"): image for image in content["images"]}
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise UserError(f"{self.path}: cannot be read ({error.strerror or error})") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UserError(
                f"{self.path}: expected the manifest of sr.predict (found another or a damaged file); rename or remove it"
            ) from None

    def _is_ended(self, journal: Path) -> bool:
        """Return True if the process of a journal has ended, or is this one; of another machine it is not known."""
        if journal == self._journal_path:
            return True
        return is_process_ended(journal.stem.removeprefix(".predict-"))


def digest_net(model: LoadedNet, options: Iterable[Any]) -> str:
    """Return the SHA-256 of everything but the image that a result depends on: weights, architecture and options."""
    digest = hashlib.sha256(repr((model.net, model.color, model.scale, *options)).encode())
    for name, tensor in model.net.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    if isinstance(file := getattr(model.net, "file", None), Path):  # a graph of ONNX, whose weights are in the file
        digest.update(hash_file(file).encode())
    return digest.hexdigest()


def digest_job(identity: str, folder: str, source: Path, header: Header) -> str:
    """Return the digest of the result of a local file, as `digest_source`; "" if the file is missing.

    Of a DICOM file it depends on the range of its series as well, and so on other files.
    """
    try:
        version = describe_version(source.stat())
    except OSError:  # a link that leads nowhere: whoever reads the file reports it
        return ""
    if header.format == "DICOM":
        version += f" {header.black} {header.white}"
    return digest_source(identity, folder, source.name, version)


def digest_source(identity: str, folder: str, name: str, version: str) -> str:
    """Return the digest of a result: of the net and the options (`identity`), its folder below the output, and its source.

    `version` changes with the content of the source, as its size and the time of its last change.
    """
    key = os.fsencode(f"{identity} {folder} {name} {version}")  # a file name may be no UTF-8
    return hashlib.sha256(key).hexdigest()[:DIGEST_LENGTH]


def describe_version(stat: os.stat_result) -> str:
    """Return what changes with the content of a local file."""
    return f"{stat.st_size} {stat.st_mtime_ns}"


def name_unfinished(target: Path, digest: str) -> Path:
    """Return the hidden file next to a result for what a process that is stopped leaves to the next one."""
    name = hashlib.sha256(os.fsencode(target.name)).hexdigest()
    return target.with_name(f".{name[:16]}-{digest[:16]}.unfinished")


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _merge(entries: dict[str, Entry], others: dict[str, Entry]) -> None:
    """Add entries to the first ones, whatever their order in time: what is begun again has a result of the same digest."""
    for target, entry in others.items():
        known = entries.get(target, {})
        if "bytes" in entry or known.get("digest") != entry.get("digest"):
            entries[target] = entry


def _read_journal(path: Path) -> dict[str, Entry]:
    """Return the entries of a journal; its last line may be incomplete."""
    entries = {}
    with contextlib.suppress(OSError):
        for line in path.read_bytes().split(b"\n"):
            with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
                entry = json.loads(line)
                entries[entry.pop("target")] = entry
    return entries


@contextlib.contextmanager
def _lock_folder(folder: Path) -> Iterator[None]:
    """Let one process at a time merge its journal, without a file for it; some file systems have no such lock."""
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
