"""`data=cifar10`: CIFAR-10 (Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009).

All images live in one uint8 tensor, and a batch is one indexing operation. An extracted `cifar-10-batches-py` or
`cifar-10-batches-bin` in `root` is taken as it is, however many images it holds; otherwise the official archive is
taken from `root` or fetched there.
"""

import pickle
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor
from torch.utils.data import Dataset

from sr.data.module import SRDataModule
from sr.data.patches import PatchDraw, flip_patches
from sr.image.batch import Raw
from sr.pretrained.download import download_file, verify_checksum
from sr.runtime.error import UserError

FOLDER, BINARY, ARCHIVE = "cifar-10-batches-py", "cifar-10-batches-bin", "cifar-10-python.tar.gz"
SIDE = 32
KEPT_BACK = 500  # training images kept back for validation; of a small subset, a tenth at most


class CIFAR10(SRDataModule):
    """Trains on whole 32×32 images; the last training images are held out for validation, `test_batch` is the test."""

    name = "cifar10"

    def __init__(self, *, url: str, sha256: str, **dials: Any) -> None:
        super().__init__(**dials)
        self.url, self.sha256 = url, sha256
        self._images: dict[str, Tensor] = {}

    def prepare_data(self) -> None:
        """Find, fetch or unpack the batches; on one process only."""
        if any((self.root / name).is_dir() for name in (FOLDER, BINARY)):
            return
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"paths.data={self.root}: cannot make this folder ({error.strerror or error})") from None
        with FileLock(self.root / ".cifar10.lock"):  # several runs that start at once fetch it once
            if (self.root / FOLDER).is_dir():
                return
            archive = self.root / ARCHIVE
            if archive.exists():
                verify_checksum(archive, self.sha256)
            else:
                download_file(self.url, archive, self.sha256)
            unpack(archive, self.root)

    def build_training_set(self) -> "Tiles":
        images = self._read("train")
        return Tiles(images[: len(images) - self._kept_back(images)], self.scale, batches(self.root, "train"))

    def build_held_out_set(self, stage: str) -> "Tiles":
        if stage == "test":
            return Tiles(self._read("test"), self.scale, batches(self.root, "test"))
        images = self._read("train")
        return Tiles(images[len(images) - self._kept_back(images) :], self.scale, batches(self.root, "train"))

    @staticmethod
    def _kept_back(images: Tensor) -> int:
        return max(1, min(KEPT_BACK, len(images) // 10))

    def _read(self, part: str) -> Tensor:
        if part not in self._images:
            self._images[part] = labelled(self.root, part)[0]
        return self._images[part]


class Tiles(Dataset):
    """Small images of one size in one tensor `[N, C, H, W]`, read from `files`; cropped to a multiple of `scale`."""

    batch = 256  # for evaluation

    def __init__(self, images: Tensor, scale: int, files: Sequence[Path] = ()) -> None:
        self.files = list(files)
        side = SIDE - SIDE % scale
        self.images = images[:, :, :side, :side].contiguous()
        self.names = [f"{k:05d}" for k in range(len(images))]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, at: int | list[int] | PatchDraw) -> Raw:
        if isinstance(at, PatchDraw):
            index, turn = (torch.from_numpy(x).to(self.images.device) for x in (at.index, at.turn))
            return Raw(flip_patches(self.images[index], turn), seed=at.seed)
        return Raw(self.images[at])

    @property
    def bytes(self) -> int:
        """Of all images."""
        return self.images.numel()

    def reside(self, device: torch.device) -> None:
        """Keep all images on `device`."""
        self.images = self.images.to(device)


class _ArraysOnly(pickle.Unpickler):
    """Admits NumPy arrays and plain values, nothing else: a pickle from outside must not run code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in {("numpy", "ndarray"), ("numpy", "dtype")}:
            return getattr(np, name)
        if (module, name) in {(f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")}:
            return np.zeros(0).__reduce__()[0]  # the same function, wherever this NumPy keeps it
        if (module, name) == ("_codecs", "encode"):  # how Python 3 writes bytes under protocol 2
            return _latin1
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a data file")


def _latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"encoding {encoding} is not allowed in a data file")
    return text.encode(encoding)


def labelled(root: Path, part: str) -> tuple[Tensor, Tensor]:
    """`train` or `test` as extracted in `root`: uint8 `[N, 3, 32, 32]`; the class of each, 0…9, or -1 where none is told."""
    found = batches(root, part)
    read = _read_binary if found[0].suffix else _read_pickle
    images, labels = zip(*map(read, found), strict=True)
    return torch.cat(images), torch.cat(labels)


def batches(root: Path, part: str) -> list[Path]:
    """The files of `train` or `test`, as extracted in `root`."""
    binary = not (root / FOLDER).is_dir()
    folder = root / (BINARY if binary else FOLDER)
    names = ["test_batch"] if part == "test" else [f"data_batch_{k}" for k in range(1, 6)]
    paths = [folder / (name + ".bin" * binary) for name in names]
    found = [path for path in paths if path.exists()]
    if not found:
        raise UserError(f"{folder}: none of {', '.join(path.name for path in paths)} is there")
    return found


def _read_pickle(path: Path) -> tuple[Tensor, Tensor]:
    try:
        with path.open("rb") as file:
            batch = _ArraysOnly(file, encoding="bytes").load()
        data = batch.get(b"data", batch.get("data"))
        pixels = np.ascontiguousarray(data).reshape(len(data), 3, SIDE, SIDE)
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
    record = 1 + 3 * SIDE * SIDE  # one label byte, then the red, green and blue planes
    data = np.fromfile(path, dtype=np.uint8)
    if len(data) == 0 or len(data) % record:
        raise UserError(f"{path}: damaged or cut off ({len(data)} bytes, expected a multiple of {record})")
    rows = torch.from_numpy(data.reshape(-1, record))
    return rows[:, 1:].reshape(-1, 3, SIDE, SIDE).clone(), rows[:, 0].long()


def unpack(archive: Path, root: Path) -> None:
    """Unpack the batches of the official archive into `root`, whole or not at all; nothing else is written."""
    part = root / (FOLDER + ".part")
    shutil.rmtree(part, ignore_errors=True)
    wanted = {f"{FOLDER}/{name}" for name in (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch", "batches.meta")}
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                if member.name in wanted and member.isfile():
                    tar.extract(member, part, filter="data")
        (part / FOLDER).rename(root / FOLDER)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"{archive}: cannot be unpacked ({error}). Remove it and run again") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
