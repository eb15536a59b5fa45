"""Blind degradations: each op and chain against the contract, kernels against SciPy, noise by its statistics."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sr import degrade as degrade_package
from sr.degrade.blur import Blur, Sinc, filter_images, pad_mirrored
from sr.degrade.chain import Chain
from sr.degrade.h264 import H264
from sr.degrade.jpeg import Blocking, Jpeg
from sr.degrade.line import Line
from sr.degrade.mosaic import Mosaic
from sr.degrade.noise import Gaussian, Poisson
from sr.degrade.op import Op
from sr.degrade.order import OneOf, Shuffle, Steps
from sr.degrade.resample import Resample
from sr.runtime.error import UserError

KINDS = ["iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso"]
OPS = {
    "blur": lambda: Blur(kinds=KINDS, sinc_probability=0.2),
    "sinc": Sinc,
    "resample": lambda: Resample(factor=(0.3, 1.5), kernels=["area", "bilinear", "bicubic", "nearest"]),
    "gaussian": lambda: Gaussian(correlated_probability=0.3),
    "poisson": Poisson,
    "jpeg": Jpeg,
    "blocking": Blocking,
    "h264": lambda: pytest.importorskip("av") and H264(crf=(20, 45)),
    "line": Line,
    "mosaic": Mosaic,
    "steps": lambda: Steps([Blur(), Jpeg()]),
    "shuffle": lambda: Shuffle([Resample(), Gaussian(), Jpeg(0.5)]),
    "one_of": lambda: OneOf([Gaussian(), Poisson()], weights=[1, 2]),
}


def test_every_op_is_tested() -> None:
    """A new op has to be added to `OPS`."""
    files = Path(degrade_package.__file__).parent.glob("[a-z]*.py")
    modules = [import_module(f"sr.degrade.{path.stem}") for path in files]
    classes = {value for module in modules for value in vars(module).values() if isinstance(value, type)}
    assert {cls for cls in classes if issubclass(cls, Op)} - {Op} == {type(create()) for create in OPS.values()}


DESCRIPTIONS = {  # as earlier versions stored them with every result
    "real": (
        "Chain(scale=4, Blur(probability=1.0, kinds={'iso': 0.45, 'aniso': 0.25, 'generalized_iso': 0.12, 'genera"
        "lized_aniso': 0.03, 'plateau_iso': 0.12, 'plateau_aniso': 0.03}, size=[7, 21], sigma=[0.2, 3], beta=[0.5"
        ", 4], plateau=[1, 2], sinc=0.1), Resample(probability=1.0, evenly=factor, of=now, ways={'up': 0.2, 'down"
        "': 0.7, 'keep': 0.1}, factor=[0.15, 1.5], kernels={'area': 1.0, 'bilinear': 1.0, 'bicubic': 1.0}), OneOf"
        "(Gaussian(probability=1.0, sigma=[1, 30], gray=0.4, correlated=0.0), Poisson(probability=1.0, scale=[0.0"
        "5, 3], gray=0.4), probability=1.0, weights=[0.5, 0.5]), Jpeg(probability=1.0, quality=[30, 95]), Blur(pr"
        "obability=0.8, kinds={'iso': 0.45, 'aniso': 0.25, 'generalized_iso': 0.12, 'generalized_aniso': 0.03, 'p"
        "lateau_iso': 0.12, 'plateau_aniso': 0.03}, size=[7, 21], sigma=[0.2, 1.5], beta=[0.5, 4], plateau=[1, 2]"
        ", sinc=0.1), Resample(probability=1.0, evenly=factor, of=lr, ways={'up': 0.3, 'down': 0.4, 'keep': 0.3},"
        " factor=[0.3, 1.2], kernels={'area': 1.0, 'bilinear': 1.0, 'bicubic': 1.0}), OneOf(Gaussian(probability="
        "1.0, sigma=[1, 25], gray=0.4, correlated=0.0), Poisson(probability=1.0, scale=[0.05, 2.5], gray=0.4), pr"
        "obability=1.0, weights=[0.5, 0.5]), Shuffle(Steps(Resample(probability=1.0, evenly=factor, of=lr, ways={"
        "'keep': 1.0}, factor=[0.5, 1.5], kernels={'area': 1.0, 'bilinear': 1.0, 'bicubic': 1.0}), Sinc(probabili"
        "ty=0.8, size=[7, 21], cutoff=[1.0472, 3.1416]), probability=1.0), Jpeg(probability=1.0, quality=[30, 95]"
        "), probability=1.0, ordered=[]))"
    ),
    "bsr": (
        "Chain(scale=4, Shuffle(Blur(probability=1.0, kinds={'iso': 0.5, 'aniso': 0.5}, size=[7, 25], sigma=[0.1,"
        " 2.8], beta=[0.5, 4], plateau=[1, 2], sinc=0.0), Blur(probability=1.0, kinds={'iso': 0.5, 'aniso': 0.5},"
        " size=[7, 25], sigma=[0.1, 2.8], beta=[0.5, 4], plateau=[1, 2], sinc=0.0), Gaussian(probability=1.0, sig"
        "ma=[2, 25], gray=0.4, correlated=0.2), Jpeg(probability=0.9, quality=[30, 95]), Mosaic(probability=0.25,"
        " shot=[0, 12], read=[0, 4]), Resample(probability=0.75, evenly=divisor, of=now, ways={'down': 1.0}, fact"
        "or=[0.125, 1], kernels={'area': 1.0, 'bilinear': 1.0, 'bicubic': 1.0}), Resample(probability=1.0, evenly"
        "=factor, of=lr, ways={'keep': 1.0}, factor=[0.5, 1.5], kernels={'area': 1.0, 'bilinear': 1.0, 'bicubic':"
        " 1.0}), probability=1.0, ordered=[5, 6]), Jpeg(probability=1.0, quality=[30, 95]))"
    ),
    "surveillance": (
        "Chain(scale=4, Blur(probability=1.0, kinds={'iso': 0.6, 'aniso': 0.3, 'plateau_iso': 0.1}, size=[7, 21],"
        " sigma=[0.4, 2.5], beta=[0.5, 4], plateau=[1, 2], sinc=0.0), Resample(probability=1.0, evenly=factor, of"
        "=lr, ways={'keep': 0.5, 'up': 0.5}, factor=[1, 2], kernels={'area': 1.0}), Mosaic(probability=1.0, shot="
        "[2, 16], read=[0, 6]), Sinc(probability=0.5, size=[7, 13], cutoff=[1.5, 3.1416]), Line(probability=0.6, "
        "row=[0, 4], column=[0, 2], hum=[0, 6], bars=[0.5, 4]), Resample(probability=1.0, evenly=factor, of=lr, w"
        "ays={'keep': 1.0}, factor=[0.5, 1.5], kernels={'area': 1.0, 'bilinear': 1.0, 'bicubic': 1.0}), Blocking("
        "probability=1.0, quality=[25, 70], rounds=[2, 4]))"
    ),
}


@pytest.mark.parametrize("chain", DESCRIPTIONS)
def test_the_description_of_a_chain_is_that_of_earlier_versions(chain: str, compose: Any, build: Any) -> None:
    """It is stored with each result, and two results are compared only if it is equal."""
    degrade = build.build_part(compose(f"data/degrade={chain}", "scale=4")["data"]["degrade"], "data.degrade")
    assert repr(degrade) == DESCRIPTIONS[chain]


def random_images(*shape: int, seed: int = 0) -> Tensor:
    """Return coarse random images, uint8."""
    small = torch.rand(*shape[:-2], 5, 5, generator=torch.Generator().manual_seed(seed))
    large = torch.nn.functional.interpolate(small, size=shape[-2:], mode="bicubic").clamp(0, 1)
    return (large * 255).to(torch.uint8)


def create_rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_single_op_is_a_degradation(name: str, channels: int) -> None:
    """Size, range, determinism; a batch gives the same as its images one by one, and each image its own degradation."""
    degrade = Chain(3, [OPS[name]()])
    hr, seeds = random_images(9, channels, 39, 27), torch.arange(9)
    hr[1:] = hr[:1]
    lr = degrade(hr, seeds)
    assert (lr.dtype, lr.shape) == (torch.uint8, (9, channels, 13, 9))
    assert torch.equal(degrade(hr, seeds), lr)
    assert torch.equal(torch.cat([degrade(hr[k : k + 1], seeds[k : k + 1]) for k in range(9)]), lr)
    order = torch.tensor([4, 0, 8])
    assert torch.equal(degrade(hr[order], seeds[order]), lr[order])
    assert len({tuple(image.flatten().tolist()) for image in lr}) > 4


@pytest.mark.parametrize("name", OPS)
def test_black_stays_dark_and_white_stays_bright(name: str) -> None:
    """Overshoot is clipped: in uint8 it would wrap around."""
    dark, bright = (
        Chain(2, [OPS[name]()])(torch.full((6, 3, 48, 48), level, dtype=torch.uint8), torch.arange(6)).float()
        for level in (0, 255)
    )
    assert dark.mean(dim=(1, 2, 3)).max() < 60
    assert bright.mean(dim=(1, 2, 3)).min() > 135  # half of a Poisson noise larger than the image is clipped


@pytest.mark.parametrize("name", OPS)
def test_images_of_different_sizes_in_one_call(name: str) -> None:
    """Images are processed together on a GPU: the others and their sizes do not change the result of an image."""
    op: Op = OPS[name]()
    images = [random_images(1, 3, h, w, seed=h)[0] / 255 for h, w in ((33, 47), (48, 32), (21, 50), (7, 5))]
    plans = [op.plan(create_rng(k)) for k in range(4)]
    if any(len(plan) != 1 for plan in plans) or len({plan[0].op for plan in plans}) > 1:
        return  # it consists of several ops, which are tested by themselves
    together = op([image.clone() for image in images], [plan[0].parameters for plan in plans], (8, 8))
    for image, plan, result in zip(images, plans, together, strict=True):
        alone = op([image.clone()], [plan[0].parameters], (8, 8))[0]
        assert result.shape == alone.shape
        assert (result - alone).abs().mean() < 0.001


def test_a_chain_gives_the_same_for_a_group_as_for_each_image(compose: Any, build: Any) -> None:
    """Up to the order of sums, which may change the rounding of a JPEG coefficient."""
    degrade = build.build_part(compose("data/degrade=bsr", "scale=4")["data"]["degrade"], "data.degrade")
    items = list(zip(random_images(5, 3, 64, 48), range(5), strict=True))
    together = torch.stack(degrade.degrade_images(items, (16, 12))).int()
    alone = torch.cat([torch.stack(degrade.degrade_images([item], (16, 12))) for item in items]).int()
    assert (together - alone).abs().float().mean() < 0.2


def test_kernels_sum_to_one_and_blur_as_scipy_does() -> None:
    from scipy.ndimage import correlate

    ops = [Blur(kinds=[kind]) for kind in KINDS] + [Blur(sinc_probability=1), Sinc()]
    rng = create_rng()
    kernels = [op.draw(rng) for op in ops for _ in range(8)]
    assert all(abs(kernel.sum().item() - 1) < 1e-9 for kernel in kernels)
    assert {len(kernel) for kernel in kernels} == set(range(7, 22, 2))
    image = random_images(1, 3, 33, 28)[0] / 255
    for kernel in kernels[::9]:
        exact = [correlate(band, kernel.numpy(), mode="mirror") for band in image.double().numpy()]
        assert np.allclose(filter_images([image], [kernel])[0].numpy(), exact, atol=1e-5)


def test_a_tiny_image_is_mirrored_repeatedly() -> None:
    line = torch.tensor([[[0.0, 1.0, 2.0]]])
    assert pad_mirrored(line, 4)[0, 4].tolist() == [0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2]


@pytest.mark.parametrize("gray", [0.0, 1.0])
def test_noise_has_the_requested_deviation(gray: float) -> None:
    uniform = torch.full((3, 96, 96), 0.5)
    op = Gaussian(sigma=(20, 20), gray_probability=gray)
    noise = (op([uniform], [op.draw(create_rng())], (8, 8))[0] - 0.5) * 255
    assert noise.std().item() == pytest.approx(20, rel=0.05)
    assert abs(noise.mean().item()) < 1
    assert bool((noise[0] == noise[1]).all()) == bool(gray)
    ramp = torch.linspace(0.2, 0.8, 256).repeat(3, 256, 1)
    op = Poisson(scale=(1, 1), gray_probability=gray)
    noise = (op([ramp], [op.draw(create_rng())], (8, 8))[0] - ramp)[..., 100:156]
    counts = 2 ** np.ceil(np.log2(len(np.unique((ramp * 255).round()))))
    assert noise.std().item() == pytest.approx((0.5 / counts) ** 0.5, rel=0.08)


def test_a_uniform_color_is_unchanged_by_the_mosaic_and_its_noise_is_the_sensors() -> None:
    uniform = torch.tensor([0.2, 0.5, 0.8])[:, None, None].expand(3, 41, 32)
    noise_free = Mosaic(shot_noise=(0, 0), read_noise=(0, 0))
    for k in range(6):
        assert torch.allclose(noise_free([uniform], [noise_free.draw(create_rng(k))], (8, 8))[0], uniform, atol=1e-6)
    noisy = Mosaic(shot_noise=(0, 0), read_noise=(10, 10))
    noise = noisy([uniform], [noisy.draw(create_rng())], (8, 8))[0][1] - 0.5
    assert 5 < noise.std().item() * 255 < 10  # interpolated green is a mean of four


def test_interference_is_constant_along_each_row() -> None:
    op = Line(row_sigma=(10, 10), column_sigma=(0, 0), hum_amplitude=(0, 0))
    result = op([torch.full((3, 64, 48), 0.5)], [op.draw(create_rng())], (8, 8))[0]
    assert (result.std(dim=-1) < 1e-6).all()
    assert result[0, :, 0].std().item() * 255 == pytest.approx(10, rel=0.3)


@pytest.mark.parametrize(("chain", "convert"), [("bsr", lambda factor: 1 / factor), ("real", lambda factor: factor)])
def test_a_random_size_has_the_distribution_of_its_paper(chain: str, convert: Any, compose: Any, build: Any) -> None:
    """BSRGAN's code draws 1…2·scale and divides by it (`utils_blindsr.py`, sf1); Real-ESRGAN draws the factor, 0.15…1."""
    degrade = build.build_part(compose(f"data/degrade={chain}", "scale=4")["data"]["degrade"], "data.degrade")
    op = next(
        op
        for op in degrade.modules()
        if isinstance(op, Resample) and op.directions.get("down") and op.relative_to == "input"
    )
    rng = create_rng()
    values = np.array([convert(op.draw(rng).factor) for _ in range(4000)])
    low, high = {"bsr": (1, 8), "real": (0.15, 1)}[chain]
    reduced = np.sort(values[values != 1] if chain == "bsr" else values[values < 1])
    assert np.abs((reduced - low) / (high - low) - np.linspace(0, 1, len(reduced))).max() < 0.04


def test_shuffle_retains_the_fixed_order() -> None:
    ops = [Jpeg(), Gaussian(), Resample(), Sinc()]
    orders = {
        tuple(type(step.op).__name__ for step in Shuffle(ops, fixed_order=[1, 3]).plan(create_rng(k)))
        for k in range(60)
    }
    assert len(orders) == 12
    assert all(order.index("Gaussian") < order.index("Sinc") for order in orders)


def test_an_op_is_applied_with_its_probability() -> None:
    plans = [len(Steps([Jpeg(0.3)]).plan(create_rng(k))) for k in range(400)]
    assert 0.22 < np.mean(plans) < 0.38
    selected = [type(OneOf([Jpeg(), Sinc()], weights=[1, 3]).plan(create_rng(k))[0].op) for k in range(400)]
    assert 0.17 < selected.count(Jpeg) / 400 < 0.33


@pytest.mark.parametrize(
    ("create", "message"),
    [
        (lambda: Jpeg(quality=(0, 95)), "Jpeg.quality=(0, 95): expected [least, most] within 1 … 100"),
        (lambda: Jpeg(probability=2), "Jpeg.probability=2: expected a probability"),
        (lambda: Blur(kinds=["box"]), "expected weights of some of iso"),
        (lambda: Blur(size=(7, 20)), "expected odd sizes"),
        (lambda: Resample(factor=(0.2, 0.8)), "with 1 between them"),
        (lambda: Resample(relative_to="hr"), "expected input or lr"),
        (lambda: Resample(uniform_in="size"), "expected factor or divisor"),
        (lambda: OneOf([Jpeg()], weights=[1, 2]), "OneOf.weights"),
        (lambda: Chain(2, [Jpeg()])(random_images(2, 3, 8, 8), torch.arange(3)), "a seed for each of 2 images"),
        (lambda: Chain(2, [Jpeg()])(random_images(2, 3, 9, 8), torch.arange(2)), "multiple of scale=2"),
        (lambda: Chain(2, [Jpeg()])(random_images(2, 4, 8, 8), torch.arange(2)), "expected 1 or 3 channels (found 4)"),
    ],
)
def test_an_invalid_option_is_rejected(create: Any, message: str) -> None:
    with pytest.raises(UserError) as error:
        create()
    assert message in str(error.value)
