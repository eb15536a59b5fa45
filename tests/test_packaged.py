"""The networks in the package, `checkpoint=small_x2`: they are better than bicubic, and their card says what is measured."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
import skimage
from PIL import Image

import sr as package
from sr.image.convert import to_pixels
from sr.image.resize import imresize
from sr.metric.protocol import Protocol
from sr.pretrained.networks import FOLDER, find_default, list_networks
from sr.record.result import read_set_results

SCALES = (2, 3, 4)
SETS = ("Set5", "Set14", "BSD100")


def read_card(scale: int) -> dict[str, list[float]]:
    """Return the numbers of each set in `small.md`: PSNR and SSIM of bicubic interpolation, then of the network."""
    lines = [line.split("|")[1:-1] for line in (FOLDER / "small.md").read_text(encoding="utf-8").splitlines()]
    rows = [[cell.strip() for cell in line] for line in lines if line and line[0].strip() == f"`small_x{scale}`"]
    return {row[1]: [float(n) for cell in row[2:4] for n in cell.split("/")] for row in rows if row[1] in SETS}


def test_together_they_are_smaller_than_two_megabytes() -> None:
    files = [FOLDER / f"small_x{scale}.safetensors" for scale in SCALES]
    assert 0 < sum(file.stat().st_size for file in files) < 2e6


@pytest.mark.parametrize("scale", SCALES)
def test_a_photograph_gains_over_bicubic(scale: int) -> None:
    """A part of `astronaut`, which was not trained on; the least gain is in dB."""
    photo = Image.open(Path(skimage.__file__).parent / "data" / "astronaut.png").convert("RGB").crop((120, 0, 312, 192))
    hr = to_pixels(photo).color / 255
    lr = (imresize(hr, 1 / scale) * 255).round().clamp(0, 255) / 255
    net = package.load(find_default(scale).name, device="cpu")
    ours, bicubic = package.upscale(net, lr), imresize(lr, scale).clamp(0, 1)
    measure = Protocol("edsr", scale, "rgb")
    gain = (measure(ours, hr)["psnr"] - measure(bicubic, hr)["psnr"]).item()
    assert gain > {2: 1.5, 3: 1.2, 4: 0.8}[scale]


@pytest.mark.parametrize("scale", SCALES)
def test_both_cards_have_the_same_numbers(scale: int) -> None:
    assert find_default(scale).psnr == {name: numbers[2] for name, numbers in read_card(scale).items()}


def test_every_photograph_is_free() -> None:
    with (FOLDER / "photographs.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["license"] for row in rows} == {
        "CC0-1.0", "CC-BY-2.0", "CC-BY-4.0", "public domain", "no known restrictions",
    }  # fmt: skip
    assert all(row["author"] and row["source"] for row in rows)


@pytest.mark.slow(6)
def test_a_net_that_the_weights_do_not_fit_is_answered_with_the_options_of_theirs(sr: Callable) -> None:
    photo = Path(skimage.__file__).parent / "data" / "astronaut.png"
    words = ("experiment=zssr", f"data.path={photo}", "model.init=small_x2", "track=none")
    answer = sr("run", *words)
    assert answer.code == 2
    assert "for this net type model.net.width=48 model.net.blocks=8" in answer.err


@pytest.mark.slow
@pytest.mark.parametrize("scale", SCALES)
def test_the_card_says_what_evaluate_measures(sr: Callable, sr_data: Path, tmp_path: Path, scale: int) -> None:
    words = (f"checkpoint=small_x{scale}", "data.test=[Set5]", f"paths.data={sr_data}", "track=none", "metric/also=[]")
    answer = sr("evaluate", *words)
    assert answer.code == 0, answer.err
    (file,) = (tmp_path / "runs").glob("*/evaluate.json")
    result = read_set_results(file)["Set5"]
    measured = [result.bicubic["psnr"], result.bicubic["ssim"], result.metrics["psnr"], result.metrics["ssim"]]
    for said, number, digits in zip(read_card(scale)["Set5"], measured, (2, 4, 2, 4), strict=True):
        assert abs(said - number) < 0.6 * 10**-digits


def test_default_of_each_scale_is_ours() -> None:
    assert [find_default(scale).name for scale in SCALES] == ["small_x2", "small_x3", "small_x4"]
    assert all(network.license == "Apache-2.0" for network in list_networks() if network.package is None)
