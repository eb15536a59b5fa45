"""Metrics against published numbers, against other implementations, and against values computed by hand."""

import hashlib
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d
from skimage import data
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from specimen import features, levels, see, weight_files
from torch import Tensor

from sr.image.read import read_rgb
from sr.image.resize import imresize
from sr.metric.color_shift import color_shift, delta_e
from sr.metric.dists import DISTS
from sr.metric.lpips import LPIPS
from sr.metric.ms_ssim import ms_ssim
from sr.metric.niqe import score_niqe
from sr.metric.protocol import Protocol
from sr.metric.psnr import psnr
from sr.metric.score import Score
from sr.metric.ssim import ssim
from sr.runtime.error import UserError

# design/protocols.md: bicubic by protocol edsr, PSNR in dB and SSIM.
BICUBIC = {
    ("Set5", 2): (33.673, 0.9303),
    ("Set5", 3): (30.403, 0.8689),
    ("Set5", 4): (28.429, 0.8111),
    ("Set14", 2): (30.325, 0.8699),
    ("Set14", 3): (27.631, 0.7759),
    ("Set14", 4): (26.088, 0.7048),
}


@pytest.mark.parametrize(("name", "scale"), BICUBIC)
def test_bicubic_row_of_the_tables(sr_data: Path, name: str, scale: int) -> None:
    """LR and result are 8-bit images, as MATLAB's imresize returns them: rounded after each pass."""
    score = Score(Protocol("edsr", scale, "rgb"))
    for path in sorted((sr_data / name / "HR").glob("*.png")):
        hr = read_rgb(path)[None]
        h, w = (n - n % scale for n in hr.shape[-2:])
        hr = hr[..., :h, :w]
        score.update(imresize(imresize(hr, 1 / scale), scale) / 255, hr / 255)
    result = score.compute()
    assert (round(result["psnr"], 3), round(result["ssim"], 4)) == BICUBIC[name, scale]


@pytest.fixture(scope="module")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files in the layout of torchvision's, with random weights."""
    return weight_files(tmp_path_factory.mktemp("weights"))


def make_image(seed: int = 0, channels: int = 3) -> Tensor:
    """Whole 8-bit levels from 30 to 200, as float 0…1."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(30, 201, (1, channels, 40, 44), generator=generator) / 255


def measure(sr: Tensor, hr: Tensor, channel: str = "rgb", scale: int = 2) -> dict[str, Tensor]:
    return Protocol("edsr", scale, "rgb", channel)(sr, hr)


def test_one_level_of_error_is_48_1308_db() -> None:
    assert measure(make_image() + 1 / 255, make_image())["psnr"].item() == pytest.approx(48.1308, abs=5e-5)


def test_one_level_of_gray_error_in_luma_is_219_255_of_it() -> None:
    """BT.601's luma spans 219 of 255 levels: 1.322 dB more."""
    expected = 48.1308 + 20 * math.log10(255 / 219)
    assert measure(make_image() + 1 / 255, make_image(), "y")["psnr"].item() == pytest.approx(expected, abs=1e-4)


def test_the_infinite_psnr_of_identical_images_is_not_hidden_in_the_mean() -> None:
    score = Score(Protocol("edsr", 2, "rgb"))
    score.update(make_image(), make_image())
    score.update(make_image() + 1 / 255, make_image())
    assert score.per_image()["psnr"][0] == math.inf
    assert score.per_image()["ssim"][0] == 1
    assert score.compute()["psnr"] == math.inf


@pytest.mark.parametrize("together", [True, False])
def test_mean_of_images_not_pooled_error(together: bool) -> None:
    """Images of 20 and 40 dB are 30.00 dB together; a pooled error would say 22.97."""
    hr = torch.full((2, 3, 40, 40), 0.4)
    sr = torch.stack([hr[0] + 25.5 / 255, hr[1] + 2.55 / 255])
    score = Score(ExactProtocol(2))
    for part in (slice(0, 2),) if together else (slice(0, 1), slice(1, 2)):
        score.update(sr[part], hr[part])
    assert score.per_image()["psnr"] == pytest.approx([20, 40], abs=1e-4)
    assert score.compute()["psnr"] == pytest.approx(30, abs=1e-4)


class ExactProtocol(Protocol):
    """A protocol without rounding, so that 20 and 40 dB are possible exactly."""

    def __init__(self, scale: int) -> None:
        super().__init__("exact", scale, "rgb", "rgb")

    def _prepare_image(self, image: Tensor) -> tuple[Tensor, Tensor]:
        return image.double() * 255, image.double()


def test_the_result_is_rounded_and_clipped_to_8_bits_first() -> None:
    hr = make_image()
    assert measure(hr + 0.4 / 255, hr)["psnr"].item() == math.inf
    white = torch.ones_like(hr)
    assert measure(white * 1.7, white)["psnr"].item() == math.inf


def test_the_border_of_scale_pixels_does_not_count() -> None:
    hr, sr = make_image(), make_image()
    sr[..., :3, :] = sr[..., -3:, :] = sr[..., :, :3] = sr[..., :, -3:] = 1
    assert measure(sr, hr, scale=3)["psnr"].item() == math.inf
    assert measure(sr, hr, scale=2)["psnr"].item() < 40


def test_luma_hides_an_error_that_rgb_shows() -> None:
    """Up in red, down in green by what BT.601 weighs them: the luma stays nearly the same."""
    hr = make_image()
    sr = hr + torch.tensor([51, -26, 0]).view(1, 3, 1, 1) / 255
    assert measure(sr, hr, "y")["psnr"] > 60 > 25 > measure(sr, hr, "rgb")["psnr"]


def test_gray_images_are_measured_as_they_are() -> None:
    gray = make_image(channels=1)
    assert measure(gray + 1 / 255, gray, "y")["psnr"].item() == pytest.approx(48.1308, abs=5e-5)


@pytest.mark.parametrize("size", [(11, 11), (12, 97), (53, 40), (180, 203)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_psnr_and_ssim_agree_with_scikit_image(size: tuple[int, int], dtype: torch.dtype) -> None:
    """A batch of three RGB images; the SSIM of a protocol is that of the valid region, the mean over channels."""
    hr = levels(3, 3, *size)
    sr = (0.7 * hr + 0.3 * levels(3, 3, *size, seed=1)).to(dtype)
    ours = psnr(sr, hr.to(dtype)), ssim(sr, hr.to(dtype))
    for k in range(3):
        x, y = (image[k].double().permute(1, 2, 0).numpy() for image in (sr, hr))
        window = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        _, index = structural_similarity(x, y, full=True, data_range=255, channel_axis=2, **window)
        assert ours[1][k].item() == pytest.approx(index[5:-5, 5:-5].mean(), abs=1e-6)
        assert ours[0][k].item() == pytest.approx(peak_signal_noise_ratio(y, x, data_range=255), abs=1e-6)
    assert ours[0].dtype == ours[1].dtype == torch.float64


@pytest.mark.parametrize("size", [(176, 176), (211, 180)])
def test_ms_ssim_is_the_paper_s_formula(size: tuple[int, int]) -> None:
    """Written out in NumPy; torchmetrics cannot be the reference, as its coarsest scale is padded (1e-3 off)."""
    hr = levels(2, 3, *size)
    sr = (0.6 * hr + 0.4 * levels(2, 3, *size, seed=1)).round()
    for x, y, ours in zip(sr.double().numpy(), hr.double().numpy(), ms_ssim(sr, hr).tolist(), strict=True):
        assert ours == pytest.approx(plain_ms_ssim(x, y), abs=1e-9)


def plain_ms_ssim(x: np.ndarray, y: np.ndarray) -> float:
    tap = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(tap, tap) / tap.sum() ** 2
    c1, c2, result = (0.01 * 255) ** 2, (0.03 * 255) ** 2, 1.0
    for k, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        values = []
        for a, b in zip(x, y, strict=True):
            ma, mb, aa, bb, ab = (convolve2d(m, window, "valid") for m in (a, b, a * a, b * b, a * b))
            contrast = (2 * (ab - ma * mb) + c2) / (aa - ma**2 + bb - mb**2 + c2)
            values.append(contrast if k < 4 else contrast * (2 * ma * mb + c1) / (ma**2 + mb**2 + c1))
        result *= max(np.mean(values), 0) ** weight
        h, w = (n // 2 for n in x.shape[1:])
        x, y = (m[:, : 2 * h, : 2 * w].reshape(-1, h, 2, w, 2).mean(axis=(2, 4)) for m in (x, y))
    return result


def test_ms_ssim_counts_a_negative_scale_as_zero() -> None:
    hr = levels(1, 1, 176, 176)
    assert ms_ssim(255 - hr, hr).item() == plain_ms_ssim(255 - hr[0].numpy(), hr[0].numpy()) == 0


def test_color_shift_agrees_with_scikit_image() -> None:
    hr, sr = levels(2, 3, 37, 41).double() / 255, levels(2, 3, 37, 41, seed=1).double() / 255
    close = (hr * 255 + levels(2, 3, 37, 41, seed=2) // 64).clamp(max=255) / 255
    for x in (sr, close, hr):
        theirs = [
            deltaE_ciede2000(*(rgb2lab(i.permute(1, 2, 0).numpy()) for i in pair)) for pair in zip(x, hr, strict=True)
        ]
        assert color_shift(x, hr).tolist() == pytest.approx([error.mean() for error in theirs], abs=1e-6)


def test_ciede2000_gives_the_published_table() -> None:
    """Sharma, Wu and Dalal 2005, table 1: 34 pairs that catch the formula's discontinuities, four decimals."""
    rows = torch.tensor(SHARMA, dtype=torch.float64)
    for one, other in ((0, 3), (3, 0)):  # it is symmetric
        found = delta_e(rows[:, one : one + 3], rows[:, other : other + 3])
        assert found.tolist() == pytest.approx(rows[:, 6].tolist(), abs=5.1e-5)


@pytest.mark.filterwarnings("ignore:metric.also")
@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_lpips_agrees_with_torchmetrics(net: str, made_up: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Both use the same random network, and the authors' linear weights."""
    from torchmetrics.functional.image import lpips as reference

    monkeypatch.setattr(reference, "_get_tv_model_features", lambda name, pretrained: features(net, made_up[net]))
    images = see(2, 70, 67)
    expected = reference._LPIPS(net=net, pretrained=True, pnet_rand=True)(
        images.sr.float(), images.hr.float(), normalize=True
    )
    assert LPIPS(net, str(made_up[net]))(images).tolist() == pytest.approx(expected.flatten().tolist(), rel=1e-5)


@pytest.mark.filterwarnings("ignore:metric.also")
def test_dists_agrees_with_torchmetrics(made_up: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from torchmetrics.functional.image import dists as reference

    vgg = SimpleNamespace(features=features("vgg", made_up["vgg"]))
    monkeypatch.setattr(reference, "_TORCHVISION_AVAILABLE", True)
    monkeypatch.setattr(reference, "VGG16_Weights", SimpleNamespace(DEFAULT=None), raising=False)
    monkeypatch.setattr(reference, "vgg16", lambda weights: vgg, raising=False)
    images = see(2, 70, 67)
    expected = reference.DISTSNetwork()(images.sr.float(), images.hr.float())
    assert DISTS(str(made_up["vgg"]))(images).tolist() == pytest.approx(expected.tolist(), abs=1e-6)


def test_the_linear_weights_are_the_files_of_the_authors() -> None:
    """The names under which richzhang/PerceptualSimilarity's v0.1 files are cached begin with these digits."""
    import torchmetrics  # late: sr has to be there before it, if torchvision is there too

    folder = Path(torchmetrics.__file__).parent / "functional" / "image" / "lpips_models"
    for name, digits in (("alex.pth", "df73285e"), ("vgg.pth", "a78928a0")):
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest().startswith(digits)


def test_each_image_of_a_batch_is_measured_alone() -> None:
    hr, sr = torch.cat([make_image(1), make_image(2)]), torch.cat([make_image(3), make_image(4)])
    both = measure(sr, hr, "y")
    for k in range(2):
        alone = measure(sr[k : k + 1], hr[k : k + 1], "y")
        assert both["psnr"][k].item() == pytest.approx(alone["psnr"].item())
        assert both["ssim"][k].item() == pytest.approx(alone["ssim"].item())


def test_sizes_that_differ_are_an_error_that_asks_for_the_scale() -> None:
    with pytest.raises(UserError, match=r"differ in size: is scale=2 right\?"):
        measure(make_image()[..., 1:], make_image())


def test_the_name_of_the_protocol_depends_on_the_color_mode() -> None:
    """A net on luma is measured on the same luma as one on RGB; full-range gray is another number."""
    names = [Protocol("edsr", 2, color).describe()["protocol"] for color in ("rgb", "y", "gray")]
    assert names == ["edsr", "edsr", "edsr-gray"]


SHARMA = [  # L, a, b; L, a, b; ΔE 2000
    (50.0000, 2.6772, -79.7751, 50.0000, 0.0000, -82.7485, 2.0425),
    (50.0000, 3.1571, -77.2803, 50.0000, 0.0000, -82.7485, 2.8615),
    (50.0000, 2.8361, -74.0200, 50.0000, 0.0000, -82.7485, 3.4412),
    (50.0000, -1.3802, -84.2814, 50.0000, 0.0000, -82.7485, 1.0000),
    (50.0000, -1.1848, -84.8006, 50.0000, 0.0000, -82.7485, 1.0000),
    (50.0000, -0.9009, -85.5211, 50.0000, 0.0000, -82.7485, 1.0000),
    (50.0000, 0.0000, 0.0000, 50.0000, -1.0000, 2.0000, 2.3669),
    (50.0000, -1.0000, 2.0000, 50.0000, 0.0000, 0.0000, 2.3669),
    (50.0000, 2.4900, -0.0010, 50.0000, -2.4900, 0.0009, 7.1792),
    (50.0000, 2.4900, -0.0010, 50.0000, -2.4900, 0.0010, 7.1792),
    (50.0000, 2.4900, -0.0010, 50.0000, -2.4900, 0.0011, 7.2195),
    (50.0000, 2.4900, -0.0010, 50.0000, -2.4900, 0.0012, 7.2195),
    (50.0000, -0.0010, 2.4900, 50.0000, 0.0009, -2.4900, 4.8045),
    (50.0000, -0.0010, 2.4900, 50.0000, 0.0010, -2.4900, 4.8045),
    (50.0000, -0.0010, 2.4900, 50.0000, 0.0011, -2.4900, 4.7461),
    (50.0000, 2.5000, 0.0000, 50.0000, 0.0000, -2.5000, 4.3065),
    (50.0000, 2.5000, 0.0000, 73.0000, 25.0000, -18.0000, 27.1492),
    (50.0000, 2.5000, 0.0000, 61.0000, -5.0000, 29.0000, 22.8977),
    (50.0000, 2.5000, 0.0000, 56.0000, -27.0000, -3.0000, 31.9030),
    (50.0000, 2.5000, 0.0000, 58.0000, 24.0000, 15.0000, 19.4535),
    (50.0000, 2.5000, 0.0000, 50.0000, 3.1736, 0.5854, 1.0000),
    (50.0000, 2.5000, 0.0000, 50.0000, 3.2972, 0.0000, 1.0000),
    (50.0000, 2.5000, 0.0000, 50.0000, 1.8634, 0.5757, 1.0000),
    (50.0000, 2.5000, 0.0000, 50.0000, 3.2592, 0.3350, 1.0000),
    (60.2574, -34.0099, 36.2677, 60.4626, -34.1751, 39.4387, 1.2644),
    (63.0109, -31.0961, -5.8663, 62.8187, -29.7946, -4.0864, 1.2630),
    (61.2901, 3.7196, -5.3901, 61.4292, 2.2480, -4.9620, 1.8731),
    (35.0831, -44.1164, 3.7933, 35.0232, -40.0716, 1.5901, 1.8645),
    (22.7233, 20.0904, -46.6940, 23.0331, 14.9730, -42.5619, 2.0373),
    (36.4612, 47.8580, 18.3852, 36.2715, 50.5065, 21.2231, 1.4146),
    (90.8027, -2.0831, 1.4410, 91.1528, -1.6435, 0.0447, 1.4441),
    (90.9257, -0.5406, -0.9208, 88.6381, -0.8985, -0.7239, 1.5381),
    (6.7747, -0.2908, -2.4247, 5.8714, -0.0985, -2.2286, 0.6377),
    (2.0776, 0.0795, -1.1350, 0.9033, -0.0636, -0.5514, 0.9082),
]


def test_niqe_of_matlab(sr_data: Path) -> None:
    """The authors' release in MATLAB R2021a gives 5.72957338 for the luma of Set14's baboon, says BasicSR's niqe.py."""
    assert score_niqe(read_rgb(sr_data / "Set14" / "HR" / "baboon.png")) == pytest.approx(5.72957338, abs=2e-6)


# BasicSR 1.4.2: its niqe.py on its own luma, on MATLAB's rgb2gray, and on its luma without 4 pixels at each side.
BASICSR_NIQE = {"coffee": (4.11524, 4.05849, 4.07941), "chelsea": (2.62552, 2.57208, 2.68931)}


@pytest.mark.parametrize("photo", BASICSR_NIQE)
def test_niqe_of_basicsr(photo: str) -> None:
    image = torch.from_numpy(getattr(data, photo)()).permute(2, 0, 1)
    scores = [score_niqe(image, variant) for variant in ("matlab", "gray", "pirm")]
    assert scores == pytest.approx(BASICSR_NIQE[photo], abs=5e-5)  # BasicSR computes in float32
