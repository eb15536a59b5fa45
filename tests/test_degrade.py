"""Blind degradations: each op and chain by the contract, JPEG against Pillow, noise and kernels by their numbers."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sr import degrade as degrade_room
from sr.degrade.blur import Blur, Sinc, filtered, mirrored
from sr.degrade.chain import Chain
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
    "blur": lambda: Blur(kinds=KINDS, sinc=0.2),
    "sinc": Sinc,
    "resample": lambda: Resample(factor=(0.3, 1.5), kernels=["area", "bilinear", "bicubic", "nearest"]),
    "gaussian": lambda: Gaussian(correlated=0.3),
    "poisson": Poisson,
    "jpeg": Jpeg,
    "blocking": Blocking,
    "line": Line,
    "mosaic": Mosaic,
    "steps": lambda: Steps([Blur(), Jpeg()]),
    "shuffle": lambda: Shuffle([Resample(), Gaussian(), Jpeg(0.5)]),
    "one_of": lambda: OneOf([Gaussian(), Poisson()], weights=[1, 2]),
}


def test_every_op_is_tested() -> None:
    """Whoever adds one finds it named here."""
    rooms = [import_module(f"sr.degrade.{path.stem}") for path in Path(degrade_room.__file__).parent.glob("[a-z]*.py")]
    found = {kind for room in rooms for kind in vars(room).values() if isinstance(kind, type) and issubclass(kind, Op)}
    assert found - {Op} == {type(make()) for make in OPS.values()}


def bytes_of(*shape: int, seed: int = 0) -> Tensor:
    """Coarse random pictures, uint8."""
    small = torch.rand(*shape[:-2], 5, 5, generator=torch.Generator().manual_seed(seed))
    large = torch.nn.functional.interpolate(small, size=shape[-2:], mode="bicubic").clamp(0, 1)
    return (large * 255).to(torch.uint8)


def chance(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("channels", [1, 3])
def test_an_op_alone_is_a_degradation(name: str, channels: int) -> None:
    """Size, range, determinism; a batch is its images one by one, and each image has its own damage."""
    degrade = Chain(3, [OPS[name]()])
    hr, seeds = bytes_of(9, channels, 39, 27), torch.arange(9)
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
    """What overshoots is clipped: in bytes it would come out at the other end."""
    dark, bright = (
        Chain(2, [OPS[name]()])(torch.full((6, 3, 48, 48), level, dtype=torch.uint8), torch.arange(6)).float()
        for level in (0, 255)
    )
    assert dark.mean(dim=(1, 2, 3)).max() < 60
    assert bright.mean(dim=(1, 2, 3)).min() > 135  # half of a Poisson noise larger than the picture is clipped


@pytest.mark.parametrize("name", OPS)
def test_images_of_any_size_side_by_side(name: str) -> None:
    """As a GPU does them: what stands beside an image, and how large that is, changes nothing."""
    op: Op = OPS[name]()
    images = [bytes_of(1, 3, h, w, seed=h)[0] / 255 for h, w in ((33, 47), (48, 32), (21, 50), (7, 5))]
    plans = [op.plan(chance(k)) for k in range(4)]
    if any(len(plan) != 1 for plan in plans) or len({plan[0].op for plan in plans}) > 1:
        return  # of several ops: they are tested by themselves
    together = op([image.clone() for image in images], [plan[0].draw for plan in plans], (8, 8))
    for image, plan, one in zip(images, plans, together, strict=True):
        alone = op([image.clone()], [plan[0].draw], (8, 8))[0]
        assert one.shape == alone.shape
        assert (one - alone).abs().mean() < 0.001


def test_a_chain_does_the_same_to_all_at_once(compose: Any, build: Any) -> None:
    """But for the order of sums, which may turn a coefficient of a JPEG."""
    degrade = build.build_part(compose("data/degrade=bsr", "scale=4")["data"]["degrade"], "data.degrade")
    pieces = list(zip(bytes_of(5, 3, 64, 48), range(5), strict=True))
    together = torch.stack(degrade._degraded(pieces, (16, 12))).int()
    alone = torch.cat([torch.stack(degrade._degraded([piece], (16, 12))) for piece in pieces]).int()
    assert (together - alone).abs().float().mean() < 0.2


def test_kernels_sum_to_one_and_blur_as_scipy_does() -> None:
    from scipy.ndimage import correlate

    ops = [Blur(kinds=[kind]) for kind in KINDS] + [Blur(sinc=1), Sinc()]
    draws = chance()
    kernels = [op.draw(draws) for op in ops for _ in range(8)]
    assert all(abs(kernel.sum().item() - 1) < 1e-9 for kernel in kernels)
    assert {len(kernel) for kernel in kernels} == set(range(7, 22, 2))
    image = bytes_of(1, 3, 33, 28)[0] / 255
    for kernel in kernels[::9]:
        exact = [correlate(band, kernel.numpy(), mode="mirror") for band in image.double().numpy()]
        assert np.allclose(filtered([image], [kernel])[0].numpy(), exact, atol=1e-5)


def test_a_tiny_picture_is_mirrored_again_and_again() -> None:
    line = torch.tensor([[[0.0, 1.0, 2.0]]])
    assert mirrored(line, 4)[0, 4].tolist() == [0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2]


@pytest.mark.parametrize("gray", [0.0, 1.0])
def test_noise_has_the_deviation_that_was_asked_for(gray: float) -> None:
    flat = torch.full((3, 96, 96), 0.5)
    op = Gaussian(sigma=(20, 20), gray=gray)
    noise = (op([flat], [op.draw(chance())], (8, 8))[0] - 0.5) * 255
    assert noise.std().item() == pytest.approx(20, rel=0.05)
    assert abs(noise.mean().item()) < 1
    assert bool((noise[0] == noise[1]).all()) == bool(gray)
    ramp = torch.linspace(0.2, 0.8, 256).repeat(3, 256, 1)
    op = Poisson(scale=(1, 1), gray=gray)
    noise = (op([ramp], [op.draw(chance())], (8, 8))[0] - ramp)[..., 100:156]
    counts = 2 ** np.ceil(np.log2(len(np.unique((ramp * 255).round()))))
    assert noise.std().item() == pytest.approx((0.5 / counts) ** 0.5, rel=0.08)


def test_a_flat_colour_survives_the_mosaic_and_its_noise_is_the_sensors() -> None:
    flat = torch.tensor([0.2, 0.5, 0.8])[:, None, None].expand(3, 41, 32)
    quiet = Mosaic(shot=(0, 0), read=(0, 0))
    for k in range(6):
        assert torch.allclose(quiet([flat], [quiet.draw(chance(k))], (8, 8))[0], flat, atol=1e-6)
    loud = Mosaic(shot=(0, 0), read=(10, 10))
    noise = loud([flat], [loud.draw(chance())], (8, 8))[0][1] - 0.5
    assert 5 < noise.std().item() * 255 < 10  # interpolated green is a mean of four


def test_lines_are_lines() -> None:
    op = Line(row=(10, 10), column=(0, 0), hum=(0, 0))
    lined = op([torch.full((3, 64, 48), 0.5)], [op.draw(chance())], (8, 8))[0]
    assert (lined.std(dim=-1) < 1e-6).all()
    assert lined[0, :, 0].std().item() * 255 == pytest.approx(10, rel=0.3)


@pytest.mark.parametrize(("chain", "evenly"), [("bsr", lambda factor: 1 / factor), ("real", lambda factor: factor)])
def test_a_random_size_is_spread_as_in_its_paper(chain: str, evenly: Any, compose: Any, build: Any) -> None:
    """BSRGAN's code draws 1…2·scale and divides by it (`utils_blindsr.py`, sf1); Real-ESRGAN draws the factor, 0.15…1."""
    degrade = build.build_part(compose(f"data/degrade={chain}", "scale=4")["data"]["degrade"], "data.degrade")
    op = next(op for op in degrade.modules() if isinstance(op, Resample) and op.ways.get("down") and op.of == "now")
    draws = chance()
    drawn = np.array([evenly(op.draw(draws).factor) for _ in range(4000)])
    low, high = {"bsr": (1, 8), "real": (0.15, 1)}[chain]
    shrunk = np.sort(drawn[drawn != 1] if chain == "bsr" else drawn[drawn < 1])
    assert np.abs((shrunk - low) / (high - low) - np.linspace(0, 1, len(shrunk))).max() < 0.04


def test_shuffle_keeps_what_is_ordered() -> None:
    ops = [Jpeg(), Gaussian(), Resample(), Sinc()]
    orders = {tuple(type(step.op).__name__ for step in Shuffle(ops, ordered=[1, 3]).plan(chance(k))) for k in range(60)}
    assert len(orders) == 12
    assert all(order.index("Gaussian") < order.index("Sinc") for order in orders)


def test_a_step_comes_as_often_as_its_probability_says() -> None:
    plans = [len(Steps([Jpeg(0.3)]).plan(chance(k))) for k in range(400)]
    assert 0.22 < np.mean(plans) < 0.38
    picks = [type(OneOf([Jpeg(), Sinc()], weights=[1, 3]).plan(chance(k))[0].op) for k in range(400)]
    assert 0.17 < picks.count(Jpeg) / 400 < 0.33


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Jpeg(quality=(0, 95)), "Jpeg.quality=(0, 95): expected [least, most] within 1 … 100"),
        (lambda: Jpeg(probability=2), "Jpeg.probability=2: expected a probability"),
        (lambda: Blur(kinds=["box"]), "expected weights of some of iso"),
        (lambda: Blur(size=(7, 20)), "expected odd sizes"),
        (lambda: Resample(factor=(0.2, 0.8)), "with 1 between them"),
        (lambda: Resample(of="hr"), "expected now or lr"),
        (lambda: Resample(evenly="size"), "expected factor or divisor"),
        (lambda: OneOf([Jpeg()], weights=[1, 2]), "OneOf.weights"),
        (lambda: Chain(2, [Jpeg()])(bytes_of(2, 3, 8, 8), torch.arange(3)), "a seed for each of 2 images"),
        (lambda: Chain(2, [Jpeg()])(bytes_of(2, 3, 9, 8), torch.arange(2)), "multiple of scale=2"),
        (lambda: Chain(2, [Jpeg()])(bytes_of(2, 4, 8, 8), torch.arange(2)), "1 or 3 channels"),
    ],
)
def test_what_makes_no_sense_is_refused(make: Any, said: str) -> None:
    with pytest.raises(UserError) as error:
        make()
    assert said in str(error.value)


def test_a_chain_of_ones_own_from_yaml_alone(sr: Any, tmp_path: Path, world: Path) -> None:
    """And its measured pictures are the same in another run, with other training."""
    folder = tmp_path / "mine" / "data" / "degrade"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(
        "_target_: sr.degrade.chain.Chain\nscale: ${scale}\nops:\n"
        "  - {_target_: sr.degrade.noise.Gaussian, probability: 0.5, sigma: [5, 20]}\n  - {_target_: sr.degrade.jpeg.Jpeg}\n"
    )
    words = [f"--config-dir={tmp_path}/mine", "data=folder", "data/degrade=mine", f"data.path={world}/photos"]
    words += ["model/net=bicubic", "track=none", f"paths.data={world}"]
    found = []
    for more in (["seed=0"], ["seed=7", "data.test=[Set5,folder]"]):
        answer = sr("run", *words, *more)
        assert answer.code == 0, answer.err
        found.append([line for line in answer.out.splitlines() if line.startswith("test/folder")])
    assert found[0] == found[1] != []


def seeded(hr: Tensor, seed: int | None, degrade: Any, scale: int = 2) -> Tensor:
    """The LR that a data module makes of a batch."""
    from sr.data.sample import Sample
    from sr.image.batch import Raw

    data = Sample(scale=scale, color="rgb", seed=0, root="", degrade=degrade, val=[], test=[], patch=32)
    return data.on_after_batch_transfer(Raw(hr, seed=seed), 0).lr


def test_measured_pictures_keep_their_damage_and_patches_do_not() -> None:
    """Whatever batch a picture is measured in; and of two equal patches of a batch each has its own damage."""
    hr, degrade = bytes_of(3, 3, 32, 32), Chain(2, [Gaussian(sigma=(5, 25))])
    whole = seeded(hr, None, degrade)
    assert torch.equal(seeded(hr[[2, 0]], None, degrade), whole[[2, 0]])
    assert torch.equal(seeded(hr[1:2], None, degrade), whole[1:2])
    same = hr[:1].expand(3, -1, -1, -1)
    patches = seeded(same, 5, degrade)
    assert torch.equal(seeded(same, 5, degrade), patches)
    assert not torch.equal(patches[0], patches[1])
    assert not torch.equal(seeded(same, 6, degrade), patches)


def test_lr_psnr_needs_a_degradation_that_is_fixed() -> None:
    from sr.metric.lr_psnr import LRPSNR

    with pytest.raises(UserError, match="data/degrade draws at random"):
        LRPSNR(Chain(2, [Jpeg()]))


def test_training_on_real_shows_what_it_does(
    sr: Any, tmp_path: Path, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sheet at the start: HR beside its draws; and none where nothing is drawn."""
    shown = {}
    monkeypatch.setattr("sr.track.none.NoTracker.log_image", lambda _, key, image, step: shown.update({key: image}))
    words = [f"data.path={world}/photos", "data.patch=32", "data.batch=2", "trainer.max_steps=2", "model.net.width=4",
             "stages=[fit]", "track=none", "track.panels=1", "scale=4"]  # fmt: skip
    answer = sr("run", "data=folder", "data/degrade=real", *words)
    assert answer.code == 0, answer.err
    tiles = np.array(shown["degradation"])
    assert shown["degradation"].width > 6 * 128
    hr, first, second = (tiles[:128, k * (tiles.shape[1] // 6 + 1) :][:, :100] for k in range(3))
    assert len({hr.tobytes(), first.tobytes(), second.tobytes()}) == 3
    shown.clear()
    assert sr("run", "data=folder", *words).code == 0
    assert "degradation" not in shown
