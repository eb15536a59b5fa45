"""`data=cifar10`: CIFAR-10 (Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009).

All images are in one uint8 tensor. An extracted `cifar-10-batches-py` or `cifar-10-batches-bin` in `root` is used as it is,
however many images it holds; otherwise the official archive is taken from `root`, or downloaded to it.
"""

import pickle
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sr.data.module import SRDataModule
from sr.data.source import ImageTensor, Split
from sr.pretrained.download import download_file, lock_download, verify_checksum
from sr.runtime.error import UserError
from sr.runtime.option_types import NonEmptyStr

PYTHON_FOLDER, BINARY_FOLDER = "cifar-10-batches-py", "cifar-10-batches-bin"
ARCHIVE = "cifar-10-python.tar.gz"
TILE_SIDE = 32
MAX_HELD_OUT = 500  # training images held out for validation; of a small subset, a tenth at most


class CIFAR10(SRDataModule):
    """Trains on whole 32×32 images. The last training images are held out for validation, `test_batch` is the test set."""

    name = "cifar10"
    caveat = (
        "near duplicates: about 3 % of CIFAR-10's test tiles have one in the training set "
        '(Barz and Denzler, "Do we train on test data? Purging CIFAR of near-duplicates", 2020)'
    )

    def __init__(self, *, url: NonEmptyStr, sha256: NonEmptyStr, **options: Any) -> None:
        super().__init__(**options)
        self.url, self.sha256 = url, sha256
        self._train_images: Tensor | None = None

    def prepare_data(self) -> None:
        """Download or unpack the batches, unless they are there; called on one process only."""
        if any((self.root / name).is_dir() for name in (PYTHON_FOLDER, BINARY_FOLDER)):
            return
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"paths.data={self.root}: cannot make this folder ({error.strerror or error})") from None
        archive = self.root / ARCHIVE
        with lock_download(archive):
            if (self.root / PYTHON_FOLDER).is_dir():
                return
            if archive.is_file():
                verify_checksum(archive, self.sha256)
            else:
                download_file(self.url, archive, self.sha256)
            unpack_archive(archive, self.root)

    def find_images(self, split: Split) -> ImageTensor:
        if split == "test":
            return ImageTensor(read_labeled_images(self.root, "test")[0], list_batch_files(self.root, "test"))
        if self._train_images is None:
            self._train_images = read_labeled_images(self.root, "train")[0]
        count = len(self._train_images)
        first_held_out = count - max(1, min(MAX_HELD_OUT, count // 10))
        part = slice(first_held_out) if split == "train" else slice(first_held_out, None)
        return ImageTensor(self._train_images[part], list_batch_files(self.root, "train"))


class _ArrayUnpickler(pickle.Unpickler):
    """Loads NumPy arrays and plain values, nothing else: a downloaded pickle must not run code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in {("numpy", "ndarray"), ("numpy", "dtype")}:
            return getattr(np, name)
        if (module, name) in {(f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")}:
            return np.zeros(0).__reduce__()[0]  # the same function, in whichever module of this NumPy
        if (module, name) == ("_codecs", "encode"):  # the form of bytes in pickle protocol 2
            return _encode_latin1
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a data file")


def _encode_latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"encoding {encoding} is not allowed in a data file")
    return text.encode(encoding)


def read_labeled_images(root: Path, part: str) -> tuple[Tensor, Tensor]:
    """Read the extracted batches of `train` or `test` in `root`: uint8 `[N, 3, 32, 32]`, and the class of each image,
    0…9, or -1 if the file has no labels."""
    files = list_batch_files(root, part)
    read_batch = _read_binary if files[0].suffix else _read_pickle
    images, labels = zip(*map(read_batch, files), strict=True)
    return torch.cat(images), torch.cat(labels)


def list_batch_files(root: Path, part: str) -> list[Path]:
    """List the extracted files of `train` or `test` in `root`."""
    is_binary = not (root / PYTHON_FOLDER).is_dir()
    folder = root / (BINARY_FOLDER if is_binary else PYTHON_FOLDER)
    names = ["test_batch"] if part == "test" else [f"data_batch_{k}" for k in range(1, 6)]
    paths = [folder / (name + ".bin" * is_binary) for name in names]
    existing = [path for path in paths if path.is_file()]
    if not existing:
        raise UserError(f"{folder}: expected at least one of {', '.join(path.name for path in paths)} (found none)")
    return existing


def _read_pickle(path: Path) -> tuple[Tensor, Tensor]:
    try:
        with path.open("rb") as file:
            batch = _ArrayUnpickler(file, encoding="bytes").load()
        data = batch.get(b"data", batch.get("data"))
        pixels = np.ascontiguousarray(data).reshape(len(data), 3, TILE_SIDE, TILE_SIDE)
        if pixels.dtype != np.uint8:
            raise ValueError(f"uint8 expected, got {pixels.dtype}")
        labels = torch.as_tensor(batch.get(b"labels", batch.get("labels", [-1] * len(data))), dtype=torch.int64)
        if labels.shape != (len(data),):
            raise ValueError(f"{len(data)} labels expected, got {tuple(labels.shape)}")
    except (pickle.UnpicklingError, EOFError, ValueError, AttributeError, TypeError, KeyError, IndexError) as error:
        raise UserError(
            f"{path}: not a CIFAR-10 batch, or cut off ({error}); remove {path.parent} and run again"
        ) from None
    return torch.from_numpy(pixels), labels


def _read_binary(path: Path) -> tuple[Tensor, Tensor]:
    record = 1 + 3 * TILE_SIDE * TILE_SIDE  # one label byte, then the red, green and blue planes
    data = np.fromfile(path, dtype=np.uint8)
    if len(data) == 0 or len(data) % record:
        raise UserError(f"{path}: damaged or cut off ({len(data)} bytes, expected a multiple of {record})")
    rows = torch.from_numpy(data.reshape(-1, record))
    return rows[:, 1:].reshape(-1, 3, TILE_SIDE, TILE_SIDE).clone(), rows[:, 0].long()


def unpack_archive(archive: Path, root: Path) -> None:
    """Unpack the batches of the official archive into `root`, completely or not at all; nothing else is written."""
    part = root / (PYTHON_FOLDER + ".part")
    shutil.rmtree(part, ignore_errors=True)
    wanted = {
        f"{PYTHON_FOLDER}/{name}" for name in (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch", "batches.meta")
    }
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                if member.name in wanted and member.isfile():
                    tar.extract(member, part, filter="data")
        (part / PYTHON_FOLDER).rename(root / PYTHON_FOLDER)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"{archive}: cannot be unpacked ({error}). Remove it and run again") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
