"""`sr.inspect` on LR and HR files: which belong together, which kernel made LR, and by how much it is shifted."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import write_image
from PIL import Image
from specimen import jpeg, matlab


@pytest.fixture
def pairs(tmp_path: Path, photos: Any) -> Callable[..., list[str]]:
    """`pairs(shrink)` writes HR and `shrink(hr)` as LR, three each; gives the words of data=pair."""

    def write(shrink: Callable[[Any], Any], scale: int = 2) -> list[str]:
        import torch

        for folder in ("hr", "lr"):
            shutil.rmtree(tmp_path / folder, ignore_errors=True)
            (tmp_path / folder).mkdir()
        for name in ("astronaut.png", "chelsea.png", "rocket.jpg"):
            image = photos(name).crop((96, 20, 96 + 240, 20 + 192))
            image.save(tmp_path / "hr" / f"{Path(name).stem}.png")
            hr = torch.from_numpy(np.array(image)).permute(2, 0, 1)
            lr = np.asarray(shrink(hr).permute(1, 2, 0)).astype(np.uint8)
            Image.fromarray(lr).save(tmp_path / "lr" / f"{Path(name).stem}x{scale}.png")
        (tmp_path / "sets").mkdir(exist_ok=True)
        return ["data=pair", f"data.hr={tmp_path}/hr", f"data.lr={tmp_path}/lr", f"scale={scale}"]

    return write


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_pairs_of_matlab_are_clean(scale: int, pairs: Any, inspect: Any) -> None:
    code, found, out = inspect(*pairs(matlab(scale), scale))
    assert (code, found) == (0, {})
    assert "MATLAB's bicubic, mirror border (bit for bit in 3 of 3 pairs)" in out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kernel", "scale"),
    zip(["matlab_replicate", "matlab_once", "matlab_aliased", "opencv_cubic", "pillow_bicubic", "pillow_lanczos",
     "pillow_bilinear", "torch_bicubic", "box", "bilinear", "subsampled", "subsampled_center"], [2, 4] * 6, strict=True),
)  # fmt: skip
def test_each_kernel_is_named(kernel: str, scale: int, pairs: Any, inspect: Any) -> None:
    from sr.inspection.kernels import KERNELS

    title, shrink = KERNELS[kernel]
    words = pairs(lambda hr: shrink(hr, scale), scale)
    code, found, out = inspect(*words)
    assert all(kernel in item["kernels"] and item["psnr"] is None for item in found["kernel"])
    assert len(found["kernel"]) == 3
    assert title in out
    assert "bit for bit in 3 of 3 pairs" in out
    assert code == (0 if kernel == "matlab_replicate" else 1)
    assert ("shift" in found) == kernel.startswith("subsampled")
    if not kernel.startswith("subsampled"):
        assert inspect(*words, f"expect={kernel}")[:2] == (0, {})


def test_kernels_agree_with_code_that_is_not_ours(photos: Any) -> None:
    """Pillow's own resize, and plain slicing and averaging in NumPy."""
    import torch

    from sr.inspection.kernels import score_kernels

    image = photos("chelsea.png").crop((0, 0, 200, 160))
    array = np.array(image)
    made = {
        "pillow_bicubic": np.array(image.resize((100, 80), Image.Resampling.BICUBIC)),
        "pillow_lanczos": np.array(image.resize((100, 80), Image.Resampling.LANCZOS)),
        "box": np.floor(array.reshape(80, 2, 100, 2, 3).mean(axis=(1, 3)) + 0.5).astype(np.uint8),
        "subsampled": array[::2, ::2],
    }
    hr = torch.from_numpy(array).permute(2, 0, 1)
    for kernel, lr in made.items():
        found = score_kernels(torch.from_numpy(lr.copy()).permute(2, 0, 1), hr, 2, "matlab")
        assert found[kernel] == float("inf")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["noise", "blur", "jpeg"])
def test_no_kernel_fits(how: str, pairs: Any, inspect: Any) -> None:
    import torch
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)

    def degrade(hr: Any) -> Any:
        lr = matlab(2)(hr).numpy()
        if how == "noise":
            lr = lr + rng.normal(0, 8, lr.shape)
        elif how == "blur":
            lr = gaussian_filter(lr.astype(float), (0, 1.2, 1.2))
        else:
            lr = np.array(jpeg(Image.fromarray(lr.transpose(1, 2, 0)), 60)).transpose(2, 0, 1)
        return torch.from_numpy(lr.clip(0, 255).round())

    words = pairs(degrade)
    code, found, out = inspect(*words)
    assert (code, set(found)) == (1, {"kernel"})
    assert all(item["kernels"] == [] for item in found["kernel"])
    assert "none of the" in out
    assert inspect(*words, "expect=any")[:2] == (0, {})


@pytest.mark.parametrize("moved", [(0.5, 0.0), (0.5, -0.5), (-1.0, 2.0)])
def test_a_shift_is_measured(moved: tuple[float, float], pairs: Any, inspect: Any) -> None:
    """Shifts of half an HR pixel and more."""
    import torch
    from scipy.ndimage import shift

    def shrink(hr: Any) -> Any:
        there = shift(hr.double().numpy(), (0, *moved), order=3, mode="mirror")
        return matlab(2)(torch.from_numpy(there.clip(0, 255).round().astype(np.uint8)))

    code, found, out = inspect(*pairs(shrink), "expect=any")
    assert (code, set(found)) == (1, {"shift"})
    for item in found["shift"]:
        assert (item["down"] * 2, item["right"] * 2) == pytest.approx(moved, abs=0.06)
    assert "HR pixels" in out


def test_subsampling_is_a_shift_and_is_called_so(pairs: Any, inspect: Any) -> None:
    code, found, out = inspect(*pairs(lambda hr: hr[:, ::4, ::4], 4))
    assert (code, set(found)) == (1, {"kernel", "shift"})
    for item in found["shift"]:
        assert (item["down"], item["right"]) == pytest.approx((0.375, 0.375))
    assert "every s-th pixel" in out


def test_pairs_that_do_not_match(pairs: Any, photos: Any, tmp_path: Path, inspect: Any) -> None:
    words = pairs(matlab(2))
    write_image(tmp_path / "hr" / "alone.png", 128, 128, seed=1)
    write_image(tmp_path / "lr" / "lost_x2.png", 64, 64, seed=2)
    write_image(tmp_path / "hr" / "wide.png", 128, 128, seed=3)
    write_image(tmp_path / "lr" / "wide_x2.png", 64, 60, seed=3)
    write_image(tmp_path / "hr" / "gray.png", 128, 128, seed=4, mode="L")
    write_image(tmp_path / "lr" / "gray.png", 64, 64, seed=4)
    (tmp_path / "lr" / "chelseax2.png").write_bytes(b"cut off")
    code, found, _ = inspect(*words, "expect=any")
    assert code == 1
    assert {item["file"] for item in found["unmatched"]} == {"alone.png", "lost_x2.png"}
    assert [item["file"] for item in found["size"]] == ["wide_x2.png"]
    assert [item["file"] for item in found["color"]] == ["gray.png"]
    assert [item["file"] for item in found["unreadable"]] == ["chelseax2.png"]


def test_pairs_are_matched_as_data_pair_does(pairs: Any, tmp_path: Path, inspect: Any) -> None:
    from sr.data.pair import PairFolder

    words = pairs(matlab(2))
    for name, ending in (("astronaut", "_x2"), ("chelsea", ""), ("rocket", "-X2")):
        (tmp_path / "lr" / f"{name}x2.png").rename(tmp_path / "lr" / f"{name}{ending}.png")
    data = PairFolder(lr=str(tmp_path / "lr"), hr=str(tmp_path / "hr"), patch=32, scale=2, color="rgb", seed=0,
                      root=".", degrade=None, val=["pair"], test=["pair"])  # fmt: skip
    data.setup("fit")
    assert len(data.train_set) + len(data.eval_sets["val"][0]) == 3
    assert inspect(*words)[:2] == (0, {})
