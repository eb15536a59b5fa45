"""Metrics: the sizes they accept, one value for each image alone, and what makes it better or worse."""

import importlib
import json
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from skimage import data
from specimen import levels, other_device, see, weight_files
from torch import Tensor

from sr.degrade.bicubic import Bicubic
from sr.image.batch import MetricInput
from sr.image.color import rgb_to_luma
from sr.image.resize import imresize
from sr.metric.color_shift import ColorShift, color_shift
from sr.metric.dists import DISTS
from sr.metric.ergas import ERGAS
from sr.metric.lpips import LPIPS
from sr.metric.lr_psnr import LRPSNR
from sr.metric.ms_ssim import MSSSIM, ms_ssim
from sr.metric.niqe import NIQE, score_niqe
from sr.metric.protocol import Protocol
from sr.metric.psnr import psnr
from sr.metric.sam import SAM
from sr.metric.spectrum import Spectrum, compute_spectra, spectrum
from sr.metric.ssim import ssim
from sr.runtime.error import UserError

PHOTOS = ("astronaut", "coffee", "chelsea", "rocket", "camera", "brick", "grass", "gravel")
NO_SERVER = "http://127.0.0.1:9/"  # the discard port: nobody listens


@pytest.fixture(scope="module")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files in the layout of torchvision's, with random weights."""
    return weight_files(tmp_path_factory.mktemp("weights"))


SIDES = {"niqe": (192, 198)}  # of test images; of the others 182×190
METRICS: dict[str, Callable[[dict[str, Path]], Any]] = {
    "psnr": lambda _: lambda images: psnr(images.x, images.y),
    "ssim": lambda _: lambda images: ssim(images.x, images.y),
    "ms_ssim": lambda _: MSSSIM(),
    "lr_psnr": lambda _: LRPSNR(Bicubic(2)),
    "color_shift": lambda _: ColorShift(),
    "spectrum": lambda _: Spectrum(),
    "sam": lambda _: SAM(),
    "ergas": lambda _: ERGAS(2),
    "niqe": lambda _: NIQE(),
    "lpips": lambda made_up: LPIPS("alex", str(made_up["alex"])),
    "dists": lambda made_up: DISTS(str(made_up["vgg"])),
}


NAMES = [*sorted(METRICS.keys() - {"dists"}), pytest.param("dists", marks=pytest.mark.slow(4))]  # which is the slowest


@pytest.mark.filterwarnings("ignore:metric.also")
@pytest.mark.parametrize("name", NAMES)
def test_each_image_of_a_batch_is_measured_alone(name: str, made_up: dict[str, Path]) -> None:
    metric, images = METRICS[name](made_up), see(3, *SIDES.get(name, (182, 190)))
    together = metric(images)
    assert (together.dtype, together.shape) == (torch.float64, (3,))
    for k in range(3):
        alone = metric(MetricInput(*(tensor[k : k + 1] for tensor in images if tensor is not None)))
        assert alone.item() == pytest.approx(together[k].item(), rel=1e-10)


@pytest.mark.filterwarnings("ignore:metric.also")
@pytest.mark.skipif(not other_device(), reason="needs a GPU, or another device of PyTorch's")
@pytest.mark.parametrize("name", METRICS)
def test_another_device_gives_the_same(name: str, made_up: dict[str, Path]) -> None:
    metric = METRICS[name](made_up)
    near = 1e-4 if name in ("lpips", "dists") else 1e-9  # networks work in float32
    sides = SIDES.get(name, (182, 190))
    there = metric(see(2, *sides, device=other_device()))
    assert there.device.type != "cpu"
    assert there.tolist() == pytest.approx(metric(see(2, *sides)).tolist(), rel=near)


@pytest.mark.filterwarnings("ignore:metric.also")
@pytest.mark.parametrize("name", [name for name in NAMES if name != "niqe"])
def test_an_equal_image_has_the_best_value(name: str, made_up: dict[str, Path]) -> None:
    images, metric = see(2, 180, 180), METRICS[name](made_up)
    best = {"psnr": math.inf, "lr_psnr": math.inf, "ssim": 1, "ms_ssim": 1}.get(name, 0)
    values = metric(images._replace(x=images.y, sr=images.hr)).tolist()
    assert values == ([best] * 2 if name != "dists" else pytest.approx([0, 0], abs=1e-12))
    if hasattr(metric, "better"):
        worse = (metric(images) - torch.tensor(values)) * (-1 if metric.better == "higher" else 1)
        assert (worse > 0).all()
        assert metric.unit in ("", "dB", "ΔE", "°")


# Sizes: every one from the smallest up, and a clear error below


@pytest.mark.parametrize("height", [11, 12, 13, 31, 43, 53, 75])
def test_ssim_takes_any_size_from_its_window_up(height: int) -> None:
    """The same value results from the transposed images, wherever strips end; it is 1 for equal images."""
    for width in (11, 27, 29, 58, 101):
        hr = levels(1, 2, height, width) * 0.5
        a = (ssim(hr, hr), ssim(levels(1, 2, height, width, seed=1), hr))
        assert a[0].item() == 1
        assert a[1].item() == pytest.approx(ssim(levels(1, 2, height, width, seed=1).mT, hr.mT).item(), abs=1e-12)


@pytest.mark.parametrize(
    ("metric", "name", "smallest"), [(ssim, "SSIM", 11), (ms_ssim, "MS-SSIM", 176), (compute_spectra, "spectrum", 16)]
)
def test_an_image_that_is_too_small_is_refused_with_the_smallest_size(metric: Any, name: str, smallest: int) -> None:
    fits, short = levels(1, 1, smallest, smallest + 3), levels(1, 1, smallest - 2, smallest + 2)
    say = rf"{name} needs at least {smallest}×{smallest} pixels.*, got {smallest - 2}×{smallest + 2}"
    both = (lambda i: (i,)) if metric is compute_spectra else (lambda i: (i, i))
    assert metric(*both(fits)).isfinite().all()
    with pytest.raises(UserError, match=say):
        metric(*both(short))


def test_a_small_image_does_not_end_an_evaluation(made_up: dict[str, Path]) -> None:
    """Its value is nan."""
    with pytest.warns(UserWarning, match=r"is not alexnet-owt-7be5be79\.pth"):
        lpips = LPIPS("alex", str(made_up["alex"]))
    for metric, smallest in ((MSSSIM(), 176 + 4), (Spectrum(), 16), (lpips, 31), (NIQE(), 192), (NIQE("pirm"), 200)):
        assert metric(see(2, smallest, smallest + 2)).isfinite().all()
        assert metric(see(2, smallest - 2, smallest)).isnan().all()


def test_color_shift_of_one_channel_is_nan() -> None:
    assert ColorShift()(see(2, 20, 20, channels=1)).isnan().all()


# The purpose of each metric


def test_lr_psnr_detects_what_is_not_consistent_with_the_input() -> None:
    """Detail that the degradation removes does not count, a shift of brightness does."""
    images = see(2, 64, 64)
    checkers = 1 - 2 * ((torch.arange(64)[:, None] + torch.arange(64)) % 2)
    smooth = F.interpolate(images.lr, (64, 64), mode="bicubic").clamp(0.1, 0.9)
    smooth = images._replace(
        sr=(smooth * 255).round() / 255, lr=Bicubic(2)((smooth * 255).round().to(torch.uint8)) / 255
    )
    metric = LRPSNR(Bicubic(2))
    assert (metric(smooth._replace(sr=smooth.sr + 4 / 255 * checkers)) > 50).all()
    assert (metric(smooth._replace(sr=smooth.sr + 4 / 255)) < 37).all()


def test_lr_psnr_of_an_unrounded_lr_is_not_rounded() -> None:
    """Protocol vdsr: float64 LR of 8-bit luma."""
    images = see(2, 40, 40, channels=1)
    lr = Bicubic(2)(images.hr * 255) / 255
    assert (LRPSNR(Bicubic(2))(images._replace(sr=images.hr, lr=lr)) > 200).all()
    assert (LRPSNR(Bicubic(2))(images._replace(sr=images.hr, lr=(lr * 255).round() / 255)) < 65).all()


def test_lr_psnr_asks_for_the_lr_and_for_its_degradation() -> None:
    with pytest.raises(UserError, match="data/degrade must be the degradation"):
        LRPSNR(Bicubic(4))(see(1, 40, 40))
    with pytest.raises(UserError, match="LR images are needed"):
        LRPSNR(Bicubic(2))(see(1, 40, 40)._replace(lr=None))


def test_color_shift_detects_a_tint_that_luma_hides() -> None:
    hr = torch.full((1, 3, 8, 8), 0.5)
    tint = hr + torch.tensor([20, -10.5, 2]).view(3, 1, 1) / 255
    assert (rgb_to_luma(tint) - rgb_to_luma(hr)).abs().max() * 255 < 0.5
    assert color_shift(tint, hr).item() > 8


@pytest.mark.parametrize("photo", PHOTOS)
def test_spectrum_prefers_plausible_detail_to_none_and_detects_artifacts(photo: str) -> None:
    hr, image = photograph(photo)
    distances = []
    for scale in (2, 3, 4):
        blurred = light(imresize(imresize(image, 1 / scale), scale))
        elsewhere = (blurred + (hr - blurred).roll((3, 5), (-2, -1))).round().clamp(0, 255)
        assert psnr(elsewhere, hr) < psnr(blurred, hr) - 2
        assert spectrum(elsewhere, hr) < spectrum(blurred, hr) / 2
        distances.append(spectrum(blurred, hr).item())
    assert distances == sorted(distances)  # the more is missing, the farther off
    row, column = torch.arange(hr.shape[-2])[:, None] % 2, torch.arange(hr.shape[-1]) % 2
    for pattern in (1 - 2 * (row ^ column), row * column):  # a checkerboard, the dots of a stride of two
        noises = [spectrum((hr + k * pattern).round().clamp(0, 255), hr).item() for k in (0, 2, 4, 8)]
        assert noises == sorted(noises)
        assert noises[0] == 0
        assert noises[-1] > 1.2


def photograph(name: str) -> tuple[Tensor, Tensor]:
    """Return the luma in levels, cut to a multiple of 12, and the uint8 image."""
    image = torch.from_numpy(getattr(data, name)())
    image = image.permute(2, 0, 1)[None] if image.ndim == 3 else image[None, None]
    image = image[..., : image.shape[-2] // 12 * 12, : image.shape[-1] // 12 * 12]
    return light(image).round(), image


def light(image: Tensor) -> Tensor:
    return rgb_to_luma(image.double() / 255) * 255 if image.shape[1] == 3 else image.double()


def test_spectrum_is_calibrated() -> None:
    """White noise of σ levels has 10·log10(σ² + 1) dB at every frequency; other noise of its strength is near."""
    generator = torch.Generator().manual_seed(0)
    first, second = (20 * torch.randn(1, 1, 512, 512, generator=generator, dtype=torch.float64) for _ in range(2))
    assert compute_spectra(first).mean(dim=-1).median().item() == pytest.approx(10 * math.log10(401), abs=0.2)
    assert spectrum(first, second).item() == pytest.approx(1.3, abs=0.2)
    assert spectrum(2 * first, first).item() == pytest.approx(10 * math.log10(4), abs=0.1)


def test_niqe_rises_with_every_distortion_of_a_photograph() -> None:
    image = torch.from_numpy(data.chelsea()).permute(2, 0, 1)
    noise = 20 * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    noisy = (image + noise).round().clamp(0, 255)
    blurred = imresize(imresize(image, 0.25), size=image.shape[-2:])
    scores = [score_niqe(x) for x in (image, noisy, blurred)]
    assert scores[0] < 3 < min(scores[1:])


def test_niqe_of_a_gray_file_is_that_of_its_rgb_copy_and_a_luma_is_measured_as_it_is() -> None:
    gray = torch.from_numpy(data.camera())[None]
    score = score_niqe(gray)
    assert score == score_niqe(gray.expand(3, -1, -1)) == pytest.approx(3.1558, abs=1e-3)
    assert score == score_niqe((gray.int() * 257).to(torch.uint16))  # the same image in 16 bits
    luma = (rgb_to_luma(gray.expand(3, -1, -1) / 255) * 255 + 0.5).floor() / 255
    images = MetricInput(luma[None], luma[None], luma[None], luma[None], luma[None])
    assert NIQE()(images).item() == pytest.approx(score, abs=1e-9)


def test_niqe_of_flat_areas_depends_on_no_rounding_error() -> None:
    """Where all pixels are equal, each is its local mean: the sign of an error of 1e-14 is not counted. A brighter copy
    has the same structure, and a flat image none: it is not measured."""
    image = torch.from_numpy(data.chelsea()).permute(2, 0, 1)[:, :288, :288].clone()
    image[:, :150, :150] = 37
    scores = [score_niqe(image + k, "gray") for k in (0, 3, 11)]
    assert scores == pytest.approx([scores[0]] * 3, abs=1e-9)
    assert math.isnan(score_niqe(torch.full((3, 288, 288), 98)))


def test_niqe_of_a_variant_that_there_is_not() -> None:
    with pytest.raises(UserError, match=r"niqe\.variant=matlba: expected one of matlab, gray, pirm"):
        NIQE("matlba")


# Weights


@pytest.mark.parametrize(("cls", "file"), [(LPIPS, "alexnet-owt-7be5be79.pth"), (DISTS, "vgg16-397923af.pth")])
def test_offline_the_error_says_which_file_to_put_where(
    cls: type, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = cls.__name__.lower()
    monkeypatch.setattr(importlib.import_module("sr.pretrained.backbone"), "SITE", NO_SERVER)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    say = rf"metric/also=\[{name}\]: its weights \({re.escape(file)}, \d+ MB\).*{NO_SERVER}.*download.*{name}.weights=PATH"
    with pytest.raises(UserError, match=say) as error:
        cls()
    assert str(tmp_path / "hub" / "checkpoints" / file) in str(error.value)


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"PK\x03\x04 cut off"])
def test_a_file_that_is_no_weights_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "alex.pth"
    with pytest.raises(UserError, match=rf"metric.also.lpips.weights={re.escape(str(path))}: there is no such file"):
        LPIPS(weights=str(path))
    path.write_bytes(content)
    with pytest.warns(UserWarning), pytest.raises(UserError, match="not a file of this network's weights"):
        LPIPS(weights=str(path))


def test_another_network_s_file_is_refused(made_up: dict[str, Path]) -> None:
    with pytest.warns(UserWarning), pytest.raises(UserError, match="not a file of this network's weights"):
        LPIPS("vgg", str(made_up["alex"]))
    with pytest.raises(UserError, match="expected alex or vgg"):
        LPIPS("squeeze")


# A metric of the user's own: two files


YAML = "largest_error:\n  _target_: my_metrics.LargestError\n"
PYTHON = """
from sr.metric.metric import Metric


class LargestError(Metric):
    better = "lower"
    perceptual_rank = 9

    def __call__(self, images):
        return (images.x - images.y).abs().flatten(1).amax(1)
"""


@pytest.fixture
def own_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `--config-dir` with a metric of the user's own."""
    folder = tmp_path / "parts"
    (folder / "metric" / "also").mkdir(parents=True)
    (folder / "metric" / "also" / "largest_error.yaml").write_text(YAML)
    (folder / "my_metrics.py").write_text(PYTHON)
    monkeypatch.syspath_prepend(str(folder))  # what sr.config.cli adds is removed after the test
    yield folder
    sys.modules.pop("my_metrics", None)


def test_a_new_metric_is_two_files_and_may_select_a_best_checkpoint(
    own_parts: Path, sr: Any, world: Path, tmp_path: Path
) -> None:
    words = (
        "--config-dir", str(own_parts), "metric/also=[largest_error]", "data=folder", f"data.path={world}/photos",
        "data.patch=32", "data.batch=2", "track=none", "trainer.max_steps=2", "trainer.accelerator=cpu",
    )  # fmt: skip
    answer = sr("run", *words, "model/net=plain", "monitor_also=largest_error", "data.test=[]")
    assert answer.code == 0, answer.err
    (checkpoint,) = (tmp_path / "runs").glob("*/best_largest_error.ckpt")
    summary = json.loads((checkpoint.parent / "summary.json").read_text())
    assert summary["metrics"]["val/folder/largest_error"] > 0

    words = ("--config-dir", str(own_parts), "metric/also=[largest_error]", "data.test=[Set5]", f"paths.data={world}")
    answer = sr("evaluate", *words, f"checkpoint={checkpoint}", "track=none")
    assert answer.code == 0, answer.err
    assert "largest_error ↓" in answer.out


def test_the_perceptual_metric_of_highest_rank_comes_first(own_parts: Path) -> None:
    largest_error = importlib.import_module("my_metrics").LargestError()
    metrics = {"ms_ssim": MSSSIM(), "spectrum": Spectrum(), "largest_error": largest_error}
    assert Protocol("edsr", 2, "rgb", also=metrics).perceptual_names == ["largest_error", "spectrum"]


def test_a_class_that_is_no_metric_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"metric/also=\[plain\]: expected a metric with better, unit, .*\(found function"
    ):
        Protocol("edsr", 2, "rgb", also={"plain": lambda images: images.x})
