"""Sets of image files: sizes that must not change, gray as one plane, the memory that threads share, names of digits."""

import threading
from pathlib import Path

import pytest
import torch
from conftest import write_image
from file_kinds import with_orientation
from test_data import data, photos, read_error

from sr.data.cache import Cache
from sr.data.fixed_lr import FixedLR
from sr.data.folder import Folder
from sr.data.image_set import ImageSet
from sr.data.patches import PatchDraw, Patches
from sr.degrade.bicubic import Bicubic
from sr.image.read import read_rgb
from sr.runtime.error import UserError


def stored_bytes(image: torch.Tensor) -> int:
    return image.untyped_storage().nbytes()


@pytest.mark.parametrize("is_cached", [False, True])
@pytest.mark.parametrize("height", [48, 49])  # cropped to a multiple of the scale, or not
def test_gray_is_stored_as_one_plane_and_used_as_three_equal_ones(tmp_path: Path, is_cached: bool, height: int) -> None:
    files = [write_image(tmp_path / f"{k}.png", height, 56, seed=k, mode="L") for k in range(3)]
    options = {"memory": 0, "cache": Cache(tmp_path / "cache", 1e9)} if is_cached else {}
    images = ImageSet(files, 2, **options).add_fixed_lr(FixedLR(Bicubic(2), 2, gray=False))
    images.load()
    assert images.bytes == 3 * 48 * 56 * (1 + 1 / 4)
    for file, image in zip(files, (images[k] for k in range(3)), strict=True):
        expected = read_rgb(file)[:, :48]
        assert image.gray
        assert torch.equal(image.hr, expected)
        assert torch.equal(image.lr, Bicubic(2)(expected))
        if not is_cached:
            assert stored_bytes(image.hr) <= height * 56
    if not is_cached:
        assert images._free == images.memory - images.bytes
    batch = images[[0, 1]]
    assert torch.equal(batch.hr, torch.stack([read_rgb(file)[:, :48] for file in files[:2]]))
    patches, rng = Patches(images, 16), torch.Generator().manual_seed(0)
    draw = PatchDraw(
        torch.tensor([0, 1, 2]).numpy(), torch.rand(3, 2, generator=rng, dtype=torch.float64).numpy(),
        torch.arange(3, dtype=torch.uint8).numpy(),
    )  # fmt: skip
    cut = patches[draw]
    assert cut.hr.shape == (3, 3, 16, 16)
    assert torch.equal(cut.hr[:, :1].expand(-1, 3, -1, -1), cut.hr)
    patches.move_to(torch.device("cpu"))
    assert all(torch.equal(a, b) for a, b in zip(patches[draw][:2], cut[:2], strict=True))


def test_an_image_that_is_not_as_large_as_announced_is_an_error(tmp_path: Path) -> None:
    file = write_image(tmp_path / "a.png", 48, 56)
    images = ImageSet([file], 2)
    write_image(file, 56, 56)  # larger than announced: it would be cropped
    with pytest.raises(UserError, match=r"a\.png: expected 56×48 pixels, .* \(found 56×56\)"):
        images[0]


@pytest.mark.parametrize("orientation", [9, 255])
def test_an_image_of_no_valid_orientation_is_evaluated_as_a_whole(tmp_path: Path, orientation: int) -> None:
    with_orientation(orientation)(tmp_path / "a.png")
    images = ImageSet([tmp_path / "a.png"], 2)
    assert images.sizes == [(48, 56)]
    assert images[0].hr.shape == (3, 48, 56)


def test_threads_do_not_store_more_than_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All threads find room before any of them takes it: without a lock each one would take it."""
    images = ImageSet([write_image(tmp_path / f"{k}.png", 16, 16, seed=k) for k in range(4)], 1, memory=2 * 3 * 16 * 16)
    barrier = threading.Barrier(4)

    class Waiting(float):
        """A number that lets other threads run when it has been compared."""

        def __ge__(self, other: float) -> bool:
            result = float(self) >= other
            if not lock_is_held():
                barrier.wait(5)
            return result

        def __sub__(self, other: float) -> "Waiting":
            return Waiting(float(self) - other)

    def lock_is_held() -> bool:
        from sr.data import image_set

        return getattr(image_set, "_LOCK", None) is not None and image_set._LOCK.locked()

    images._free = Waiting(images._free)
    threads = [threading.Thread(target=images.__getitem__, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(images._decoded) == 2
    assert images._free == 0


def test_a_name_of_digits_that_yaml_reads_as_a_number_is_explained(tmp_path: Path) -> None:
    folder = photos(tmp_path / "hr")
    write_image(folder / "0010.png")
    message = read_error(data(Folder, tmp_path, path=str(folder), patch=16, exclude=[0o10]))  # as YAML reads 0010
    assert "data.exclude=8: no image of this name" in message
    assert message.endswith("put names of digits in quotes, exclude: ['0010']")
    source = data(Folder, tmp_path, path=str(folder), patch=16, exclude=["0010"])
    source.setup("fit")
    assert len(source.train_set) == 3
