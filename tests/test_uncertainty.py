"""`uncertainty=…`: the spread of results, its calibration against the true error, and what users see of it."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import spearmanr
from test_evaluate import find_report, read_results
from test_no_reference import write_texture
from torch import Tensor, nn

from sr.image.heat_map import INFERNO, draw_heat_map
from sr.image.read import read_rgb
from sr.image.resize import imresize
from sr.inference.spread import measure_spread
from sr.inference.upscale import upscale
from sr.metric.calibration import compute_calibration
from sr.metric.protocol import Protocol

QUICK = ("track=none", "metric/also=[]", "progress=false")


class Shifted(nn.Module):
    """A net that repeats pixels and adds a ramp from left to right, so that its results of flips differ."""

    scale, channels, receptive_field = 2, 3, 1

    def __init__(self, offset: float = 0.0) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.tensor(offset))

    def forward(self, lr: Tensor) -> Tensor:
        ramp = torch.linspace(0, 0.1, 2 * lr.shape[-1])
        return lr.repeat_interleave(2, -1).repeat_interleave(2, -2) * 0.5 + ramp + self.offset


def test_spread_is_the_deviation_of_the_eight_results() -> None:
    """The result itself is that of `upscale`, with and without self-ensemble."""
    net, lr = Shifted(), torch.rand(1, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    results = []
    for k in range(8):
        turned = torch.rot90(lr.flip(-1) if k & 4 else lr, k & 3, (-2, -1))
        back = torch.rot90(net(turned), -(k & 3), (-2, -1))
        results.append(back.flip(-1) if k & 4 else back)
    expected = torch.stack(results).std(dim=0).square().mean(dim=1, keepdim=True).sqrt()
    sr, spread = measure_spread([net], lr, "rgb")
    torch.testing.assert_close(spread, expected, rtol=0, atol=1e-6)
    assert spread.max() > 0.01
    assert torch.equal(sr, upscale(net, lr, "rgb"))
    assert torch.equal(measure_spread([net], lr, "rgb", ensemble=True)[0], upscale(net, lr, "rgb", ensemble=True))


def test_spread_of_networks_is_their_deviation_also_in_tiles() -> None:
    nets = [Shifted(), Shifted(0.1), Shifted(0.4)]
    lr = torch.full((1, 3, 12, 16), 0.5)
    sr, spread = measure_spread(nets, lr, "rgb", select=lambda image: image * 255)
    assert torch.equal(sr, nets[0](lr))
    torch.testing.assert_close(spread, torch.full_like(spread, torch.tensor([0, 0.1, 0.4]).std() * 255))
    assert torch.allclose(measure_spread(nets, lr, "rgb", tile=8)[1], spread / 255, atol=1e-6)  # in 0…1


def test_calibration_by_hand_and_by_scipy() -> None:
    generator = torch.Generator().manual_seed(0)
    spread = torch.randint(0, 20, (30, 40), generator=generator).double()  # with many equal values
    error = (spread + 10 * torch.randn(30, 40, generator=generator)).abs()
    found = compute_calibration(spread, error)
    assert found.rank_correlation == pytest.approx(spearmanr(spread.flatten(), error.flatten()).statistic)
    assert found.error == pytest.approx(error.square().mean().sqrt().item())
    assert 0.1 < found.top_share < found.best_share < 1
    assert found.curve[0] == 0
    assert found.curve[-1] == pytest.approx(1)
    assert found.curve[2] == pytest.approx(found.top_share)
    perfect = compute_calibration(error, error)
    assert (perfect.rank_correlation, perfect.top_share) == (pytest.approx(1), pytest.approx(perfect.best_share))
    # By hand: 10 pixels, the one of the largest spread has 16 of 16 + 9·1.
    spread = torch.tensor([[9.0, 8, 7, 6, 5, 4, 3, 2, 1, 0]])
    error = torch.tensor([[4.0, 1, 1, 1, 1, 1, 1, 1, 1, 1]])
    assert compute_calibration(spread, error).top_share == pytest.approx(16 / 25)


def test_map_that_says_nothing_has_the_share_of_accident() -> None:
    found = compute_calibration(torch.zeros(20, 20), torch.rand(20, 20))
    assert math.isnan(found.rank_correlation)
    assert found.top_share == pytest.approx(0.1)


def test_luma_is_measured_as_the_protocol_measures_it() -> None:
    protocol, image = Protocol("edsr", 2, "rgb"), torch.randint(0, 256, (1, 3, 12, 12)) / 255
    expected = protocol.prepare(image, image).x
    torch.testing.assert_close(protocol.select_measured(image.double())[..., 2:-2, 2:-2], expected, rtol=0, atol=1e-3)


def test_colors_are_those_of_the_range() -> None:
    image = draw_heat_map(torch.tensor([[0.0, 4, 8, 100, math.nan]]), 8).convert("RGB")
    assert image.getpixel((0, 0)) == image.getpixel((4, 0)) == INFERNO[0]
    assert image.getpixel((2, 0)) == image.getpixel((3, 0)) == INFERNO[-1]
    assert image.getpixel((1, 0)) not in (INFERNO[0], INFERNO[-1])


def test_evaluation_reports_the_calibration_and_leaves_the_result_as_it_is(
    sr: Callable, world: Path, tmp_path: Path
) -> None:
    words = ("checkpoint=small_x2", "data.test=[Set5]", f"paths.data={world}", *QUICK)
    assert sr("evaluate", *words).code == 0
    plain = read_results(tmp_path)["Set5"]
    assert plain.uncertainty is None
    assert not list(tmp_path.glob("runs/*/uncertainty.html"))
    answer = sr("evaluate", *words, "uncertainty=true")
    assert answer.code == 0, answer.err
    result = read_results(tmp_path)["Set5"]
    assert result.metrics == plain.metrics
    found = result.uncertainty
    assert found.per_image.keys() == result.per_image.keys()
    for name, values in found.per_image.items():
        assert 20 * math.log10(255 / values["error"]) == pytest.approx(result.per_image[name]["psnr"])
        assert values["spread"] > 0
        assert 0 < values["top_share"] <= values["best_share"]
    assert "8 flips and rotations" in found.protocol["spread"]
    assert "edsr" in found.protocol["error"]
    assert "rank corr." in answer.out
    page = (find_report(tmp_path).parent / "uncertainty.html").read_text()
    assert "A small one does not prove that the result is true" in page
    assert page.count('class="maps"') == 4


def test_bicubic_is_sure_and_wrong(sr: Callable, tmp_path: Path) -> None:
    """Its results of flips differ by the rounding of levels alone: a small spread proves nothing."""
    (tmp_path / "noise").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise" / "a.png")
    words = ("model/net=bicubic", "scale=2", "data.test=[noise]", "paths.data=.", *QUICK)
    answer = sr("evaluate", *words, "uncertainty=true")
    assert answer.code == 0, answer.err
    found = read_results(tmp_path)["noise"].uncertainty.metrics
    assert found["spread"] < 0.5
    assert found["error"] > 20


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("uncertainty=nowhere.ckpt",), "uncertainty=nowhere.ckpt: there is no such file"),
        (("uncertainty=[small_x3]",), "uncertainty=small_x3 is for scale=3"),
        (("uncertainty=[small_x2]",), "uncertainty=small_x2: it has the weights of the checkpoint"),
        (("uncertainty=[]",), "uncertainty=[]: expected true, or different checkpoints"),
        (("uncertainty=smal_x2",), 'Did you mean "small_x2"?'),
    ],
)
def test_errors_are_one_line(sr: Callable, world: Path, words: tuple[str, ...], message: str) -> None:
    answer = sr("evaluate", "checkpoint=small_x2", "data.test=[Set5]", f"paths.data={world}", *QUICK, *words)
    assert answer.code == 2
    assert message in answer.err
    assert "Traceback" not in answer.err


def test_images_have_no_spread(sr: Callable, tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    answer = sr("evaluate", "images=results", "scale=2", "uncertainty=true")
    assert "images=results: result images are evaluated as they are; leave uncertainty out" in answer.err
    answer = sr("evaluate", "input=results", "checkpoint=small_x2", "metric/also=[niqe]", "uncertainty=true")
    assert "uncertainty=true: this option needs HR, which input=results has not" in answer.err


def test_predict_writes_maps_and_the_same_result(sr: Callable, tmp_path: Path) -> None:
    """A second start finds them finished, and does not take the maps for images."""
    write_texture(tmp_path / "photos" / "a.png", 40, 0)
    write_texture(tmp_path / "photos" / "b.tif", 40, 1, gray=True)
    assert sr("predict", "input=photos", "output=plain").code == 0
    words = ("input=photos", "output=maps", "uncertainty=true")
    answer = sr("predict", *words)
    assert answer.code == 0, answer.err
    assert "a.png: spread " in answer.out
    assert "a small spread does not prove that the result is true" in answer.err
    names = {path.name for path in (tmp_path / "maps").iterdir()} - {"predict.json"}
    maps = {f"b_x2_{what}.{suffix}" for what in ("spread", "lr_error") for suffix in ("png", "tif")}
    assert names == {"a_x2.png", "b_x2.tif", "a_x2_spread.png", "a_x2_lr_error.png", *maps}
    for name in ("a_x2.png", "b_x2.tif"):
        assert (tmp_path / "maps" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    with Image.open(tmp_path / "maps" / "b_x2_spread.tif") as file:
        spread = np.array(file)
    assert (spread.shape, spread.dtype) == ((80, 80), np.float32)
    with Image.open(tmp_path / "maps" / "b_x2_spread.png") as file:
        assert "8 flips and rotations: black 0, light yellow 8 levels of 8 bits" in file.text["Description"]
        expected = draw_heat_map(torch.from_numpy(spread), 8)
        assert np.array_equal(np.array(file.convert("RGB")), np.array(expected.convert("RGB")))
    entries = {
        entry["target"]: entry for entry in json.loads((tmp_path / "maps" / "predict.json").read_text())["images"]
    }
    assert entries["b_x2.tif"]["uncertainty"]["spread"] == pytest.approx(float(np.sqrt((spread**2).mean())), rel=1e-4)
    again = sr("predict", *words)
    assert "2 images finished before" in again.out
    onward = sr("predict", "input=maps", "output=onward")
    assert "2 images upscaled" not in onward.out  # they are results, and so are the maps


def test_lr_error_is_that_of_the_standard_degradation(sr: Callable, tmp_path: Path) -> None:
    """The written result, degraded by hand, gives the map."""
    write_texture(tmp_path / "a.png", 40, 0)
    answer = sr("predict", "input=a.png", "output=b.tif", "uncertainty=true")
    assert answer.code == 0, answer.err
    lr, result = read_rgb(tmp_path / "a.png"), read_rgb(tmp_path / "b.tif")
    expected = (imresize(result, 0.5).double() - lr.double()).square().mean(dim=0).sqrt()
    with Image.open(tmp_path / "b_lr_error.tif") as file:
        np.testing.assert_allclose(np.array(file), expected.numpy(), atol=1e-4)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("uncertainty=true", "output=-"), "uncertainty=true: expected a file or folder for the maps"),
        (("uncertainty=true", "outscale=1.5"), "outscale=1.5: uncertainty= measures the network's own result"),
        (("uncertainty=nowhere.ckpt",), "uncertainty=nowhere.ckpt: there is no such file"),
        (("uncertainty=small_x2",), "uncertainty=small_x2: it has the weights of the checkpoint"),
        (("uncertainty=true",), "a_x2_spread.png exists already; overwrite=true replaces it"),
    ],
)
def test_errors_of_predict_are_one_line(sr: Callable, tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    write_texture(tmp_path / "a.png", 40, 0)
    (tmp_path / "a_x2_spread.png").write_text("of the user")
    answer = sr("predict", "input=a.png", *words)
    assert answer.code == 2
    assert message in answer.err
    assert "Traceback" not in answer.err
    assert not (tmp_path / "a_x2.png").exists()
    assert (tmp_path / "a_x2_spread.png").read_text() == "of the user"
