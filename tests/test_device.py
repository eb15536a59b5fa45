"""The same numbers on every device: a GPU, or torch_xla's CPU, which has its own compiler and rounding.

pip install torch==2.9.0 torch_xla==2.9.0   # its last version; in an environment of its own
PJRT_DEVICE=CPU pytest -m '' tests/test_device.py tests/test_measure.py
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from specimen import other_device

from sr.image.read import read_rgb
from sr.image.resize import imresize
from sr.record.result import read_set_results

pytestmark = pytest.mark.skipif(not other_device(), reason="needs a GPU, or another device of PyTorch's")


@pytest.fixture
def medium_precision() -> Iterator[None]:
    """Use the precision that Lightning recommends on a GPU: TF32, or another short and fast format."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.usefixtures("medium_precision")
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_published_lr_files_bit_for_bit(sr_data: Path, scale: int) -> None:
    for path in sorted((sr_data / "Set5" / "HR").glob("*.png")):
        hr = read_rgb(path)
        h, w = (n - n % scale for n in hr.shape[-2:])
        made = imresize(hr[:, :h, :w].to(other_device()), 1 / scale)
        assert made.device.type != "cpu"
        lr = read_rgb(sr_data / "Set5" / "LR_bicubic" / f"X{scale}" / f"{path.stem}x{scale}.png")
        assert torch.equal(made.cpu(), lr), path.stem


def test_double_as_matlab(sr_data: Path) -> None:
    content = json.loads((sr_data / "reference" / "matlab_imresize" / "cases.json").read_text())
    square = torch.tensor(content["input_square"], dtype=torch.float64, device=other_device())
    for case in content["cases"]:
        made = imresize(square, size=tuple(case["size"]), antialias=case["antialiasing"])
        expected = torch.tensor(case["output"], dtype=torch.float64)
        torch.testing.assert_close(made.cpu(), expected, rtol=0, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "metric", "published"),
    [("IMDN/IMDN_x2.pth", "edsr", (38.00, 0.9605)), ("VDSR/vdsr_official.npz", "vdsr", (37.53, 0.9587))],
)
def test_a_published_network_to_every_digit(
    sr: Callable, sr_data: Path, tmp_path: Path, file: str, metric: str, published: tuple[float, float]
) -> None:
    if metric == "vdsr" and other_device().startswith("xla"):
        pytest.skip("torch_xla cannot slice what was made in inference mode")
    words = (f"checkpoint={sr_data / 'weights' / file}", "scale=2", "data.test=[Set5]", f"metric={metric}")
    answer = sr("evaluate", *words, f"paths.data={sr_data}", f"device={other_device()}", "track=journal")
    assert answer.code == 0, answer.err
    result = read_set_results(next(tmp_path.rglob("evaluate.json")))["Set5"].metrics
    assert (round(result["psnr"], 2), round(result["ssim"], 4)) == published
