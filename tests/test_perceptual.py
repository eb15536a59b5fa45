"""Losses on the features of a trained network: their values, and that the network stays as it is."""

import copy
import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from specimen import fit, levels, slim_vgg
from torch import Tensor, nn

from sr.loss.dists_like import DISTSLike
from sr.loss.features import Features
from sr.loss.ldl import LDL, compute_artifact_map
from sr.loss.perceptual import Perceptual, gram
from sr.pretrained.download import compute_sha256
from sr.runtime.error import UserError

NO_SERVER = "http://127.0.0.1:9/"  # the discard port: nobody listens
OFFICIAL = (
    ("0", 64, 3),
    ("2", 64, 64),
    ("5", 128, 64),
    ("7", 128, 128),
)  # VGG-19's first convolutions, as torchvision has them

pytestmark = pytest.mark.filterwarnings("ignore:model.loss")


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The beginning of vgg19-dcbb9e9d.pth, up to conv2_2, with random weights, and a classifier that is not needed."""
    generator = torch.Generator().manual_seed(0)
    state = {"classifier.0.weight": torch.zeros(4, 4)}
    for number, width, channels in OFFICIAL:
        state[f"features.{number}.weight"] = 0.05 * torch.randn(width, channels, 3, 3, generator=generator)
        state[f"features.{number}.bias"] = 0.1 * torch.randn(width, generator=generator)
    path = tmp_path_factory.mktemp("vgg") / "vgg19.pth"
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def slim(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(slim_vgg(tmp_path_factory.mktemp("slim")))


def make_images(channels: int = 3, side: int = 24) -> tuple[Tensor, Tensor]:
    return levels(2, channels, side, side) / 255, levels(2, channels, side, side, seed=1) / 255


def conv2_1(path: Path, image: Tensor, relu: bool) -> Tensor:
    """Return the output of VGG's third convolution for an image in 0…1, written out."""
    w = torch.load(path, weights_only=True)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (image - mean[:, None, None]) / std[:, None, None]
    for k in (0, 2):
        x = F.relu(F.conv2d(x, w[f"features.{k}.weight"], w[f"features.{k}.bias"], padding=1))
    x = F.conv2d(F.max_pool2d(x, 2), w["features.5.weight"], w["features.5.bias"], padding=1)
    return F.relu(x) if relu else x


def squares_of_products(a: Tensor, b: Tensor) -> float:
    """Johnson's eq. 3 and 4, letter by letter."""
    total = 0.0
    for x, y in zip(a, b, strict=True):
        c, h, w = x.shape
        g, k = (torch.einsum("ihw,jhw->ij", f, f) / (c * h * w) for f in (x, y))
        total += ((g - k) ** 2).sum().item()
    return total / len(a)


@pytest.mark.parametrize("before_relu", [True, False])
def test_it_is_the_distance_of_a_layers_features(before_relu: bool, official: Path) -> None:
    sr, hr = make_images()
    a, b = (conv2_1(official, image, not before_relu) for image in (sr, hr))
    expected = {
        "l1": (a - b).abs().mean().item(),
        "l2": ((a - b) ** 2).mean().item(),
        "gram": squares_of_products(a, b),
    }
    for distance, value in expected.items():
        loss = Perceptual({"conv2_1": 1.0}, before_relu, distance, str(official))
        assert loss(sr, hr).item() == pytest.approx(value, rel=1e-4)
        assert value > 1e-6


def test_layers_are_added_by_their_weights(official: Path) -> None:
    one, two, both = (
        Perceptual(layers, weights=str(official))(*make_images()).item()
        for layers in ({"conv1_2": 1}, {"conv2_2": 1}, {"conv2_2": 0.5, "conv1_2": 2, "conv2_1": 0, "conv1_1": None})
    )
    assert both == pytest.approx(2 * one + 0.5 * two, rel=1e-5)


def test_only_layers_up_to_the_deepest_are_stored(official: Path, slim: str) -> None:
    assert len(Perceptual({"conv1_2": 1.0}, weights=str(official)).extractor.net) == 3
    assert len(Perceptual({"conv5_4": 1.0}, weights=slim).extractor.net) == 35
    assert len(Perceptual({"conv5_4": 1.0}, before_relu=False, weights=slim).extractor.net) == 36


@pytest.mark.parametrize("channels", [1, 4])
def test_each_channel_of_an_image_that_is_not_rgb_is_a_gray_image(channels: int, official: Path) -> None:
    loss = Perceptual({"conv2_1": 1.0}, weights=str(official))
    sr, hr = make_images(channels)
    alone = [loss(sr[:, [k] * 3], hr[:, [k] * 3]).item() for k in range(channels)]
    assert loss(sr, hr).item() == pytest.approx(sum(alone) / channels, rel=1e-5)


def test_gram_is_invariant_to_the_place_of_a_texture() -> None:
    feature = torch.rand(2, 5, 6, 6)
    assert gram(feature, feature.roll((1, 2), dims=(2, 3))) == pytest.approx(0, abs=1e-9)
    assert gram(feature, feature.flip(1)) > 1e-6


def losses(slim: str) -> dict[str, nn.Module]:
    layers = {"conv2_2": 1.0}
    return {
        "perceptual": Perceptual(layers, weights=slim), "features": Features(layers), "dists_like": DISTSLike(slim),
        "gram": Features(layers, distance="gram"), "ldl": LDL(),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["perceptual", "features", "gram", "dists_like", "ldl"])
def test_equal_images_have_no_loss_and_gradients_are_those_of_the_formula(name: str, slim: str) -> None:
    loss = losses(slim)[name].double()
    sr, hr = (image.double() for image in make_images(1, 16))
    assert loss(hr, hr) == 0
    sr = (0.5 * sr + 0.5 * hr).requires_grad_()
    if name != "ldl":  # whose map gives none
        assert torch.autograd.gradcheck(lambda sr: loss(sr, hr), sr, fast_mode=True)
    else:
        loss(sr, hr).backward()
        expected = compute_artifact_map((sr - hr).detach().abs()) * (sr - hr).detach().sign() / sr.numel()
        torch.testing.assert_close(sr.grad, expected)


@pytest.mark.parametrize("name", ["perceptual", "features", "dists_like"])
def test_the_network_is_neither_trained_nor_saved(name: str, slim: str) -> None:
    """It moves with its loss, to a device as to a precision, and is copied with it."""
    loss = losses(slim)[name]
    sr, hr = make_images(side=32)
    before = loss(sr, hr)
    assert not [*loss.parameters(), *loss.buffers()]
    assert not loss.state_dict()
    weight = loss.extractor.net[0].weight
    loss(sr.requires_grad_(), hr).backward()
    assert sr.grad.abs().max() > 0
    assert weight.grad is None
    other = copy.deepcopy(nn.ModuleDict({"loss": loss})).double().to("meta")["loss"]
    assert {(p.dtype, p.device.type) for p in other.extractor.net.parameters()} == {(torch.float64, "meta")}
    assert loss(sr, hr) == before


def test_training_through_it_writes_a_small_checkpoint(compose: Any, build: Any, slim: str, tmp_path: Path) -> None:
    from sr.image.batch import Pair

    terms = "model/loss=[l1,perceptual,features,dists_like,ldl]"
    files = [f"model.loss.{name}.weights={slim}" for name in ("perceptual", "dists_like")]
    config = compose(terms, *files, "model/net=plain", "model.net.width=4")
    module = build.build_model(config)
    before = [p.clone() for p in module.loss.terms["features"].extractor.net.parameters()]
    trainer = fit(module, 2, [Pair(torch.rand(2, 3, 16, 16), torch.rand(2, 3, 32, 32))] * 2)
    trainer.save_checkpoint(tmp_path / "it.ckpt")
    names = torch.load(tmp_path / "it.ckpt", weights_only=True)["state_dict"]
    assert names
    assert not [name for name in names if name.startswith("loss")]
    assert all(map(torch.equal, before, module.loss.terms["features"].extractor.net.parameters()))
    assert module.signals["train/loss_features"] > 0


# Files


def test_offline_the_error_says_which_file_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module("sr.pretrained.backbone"), "SITE", NO_SERVER)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for name, make in {"perceptual": lambda: Perceptual({"conv5_4": 1.0}), "dists_like": DISTSLike}.items():
        say = rf"model/loss=\[{name}\]: its weights \(vgg19-dcbb9e9d.pth, 575 MB\).*{NO_SERVER}.*model.loss.{name}.weights=PATH"
        with pytest.raises(UserError, match=say) as error:
            make()
        assert str(tmp_path / "hub" / "checkpoints" / "vgg19-dcbb9e9d.pth") in str(error.value)


def test_the_official_file_is_downloaded_and_checked(
    official: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name holds the first digits of its checksum."""
    backbone = importlib.import_module("sr.pretrained.backbone")
    monkeypatch.setattr(backbone, "SITE", f"{official.parent.as_uri()}/")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    whole = compute_sha256(official)
    entry = backbone.PUBLISHED["vgg19"]._replace(file=official.name)
    monkeypatch.setitem(backbone.PUBLISHED, "vgg19", entry)
    with pytest.raises(UserError, match="wrong checksum"):
        Perceptual({"conv1_1": 1.0})
    monkeypatch.setitem(backbone.PUBLISHED, "vgg19", entry._replace(sha256=whole[:8]))
    assert Perceptual({"conv1_1": 1.0})(*make_images()) > 0
    assert (tmp_path / "hub" / "checkpoints" / official.name).exists()


def test_a_wrong_file_is_named(official: Path, tmp_path: Path) -> None:
    state, path = torch.load(official, weights_only=True), tmp_path / "file.pth"
    wrong = {
        "expected a VGG .* found conv.weight": {"conv.weight": torch.rand(3)},
        "1 of another shape or type: 2.weight": state | {"features.2.weight": torch.rand(64, 32, 3, 3)},
        "1 missing: 2.bias": {key: value for key, value in state.items() if key != "features.2.bias"},
        "expected a VGG": state | {"features.1.weight": torch.rand(64)},
        "no conv2_2 .* it has conv1_1, conv1_2, conv2_1": {k: v for k, v in state.items() if ".7." not in k},
    }
    for message, content in wrong.items():
        torch.save(content, path)
        with pytest.raises(UserError, match=rf"^model.loss.perceptual.*{message}"):
            Perceptual({"conv2_2": 1.0}, weights=str(path))
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(UserError, match=f"model.loss.features.weights={re.escape(str(path))}: not a file of"):
        Features({"conv2_2": 1.0}, weights=str(path))
    with pytest.raises(UserError, match=r"nowhere.pth: there is no such file; write one with .*train.py"):
        Features({"conv2_2": 1.0}, weights="nowhere.pth")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": {"conv1_9": 1.0}}, r"layers: there is no conv1_9 in .* it has conv1_1, .*Did you mean"),
        ({"layers": {"conv1_1": 0, "conv1_2": None}}, r"layers=.* expected a layer with a weight above 0"),
        ({"layers": {"conv1_1": "much"}}, "layers.conv1_1=much: expected a weight"),
        ({"layers": {"conv1_1": 1}, "distance": "l3"}, "distance=l3: expected one of l1, l2, gram"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"^model.loss.features.{message}"):
        Features(**options)


def test_a_patch_that_is_too_small_is_refused(slim: str) -> None:
    for loss, side in ((Perceptual({"conv5_4": 1.0}, weights=slim), 16), (LDL(), 7)):
        assert loss(*make_images(side=side)).isfinite()
        with pytest.raises(UserError, match=rf"needs patches of at least {side}×{side} HR pixels, got .*data.patch"):
            loss(*make_images(side=side - 1))


# DISTS-like


def test_dists_like_is_texture_and_structure(slim: str) -> None:
    """Eq. 5 to 7, on the image and on the last convolution of each stage after its ReLU."""
    sr, hr = make_images(side=32)
    loss = DISTSLike(slim)
    values = []
    for x, y in [(sr, hr), *loss.extractor(sr, hr)]:
        mx, my = x.mean(dim=(2, 3)), y.mean(dim=(2, 3))
        vx, vy = x.var(dim=(2, 3), correction=0), y.var(dim=(2, 3), correction=0)
        cov = ((x - mx[..., None, None]) * (y - my[..., None, None])).mean(dim=(2, 3))
        similarity = (2 * mx * my + 1e-6) / (mx**2 + my**2 + 1e-6) + (2 * cov + 1e-6) / (vx + vy + 1e-6)
        values.append(1 - similarity.mean() / 2)
    assert len(values) == 6
    assert all(x.min() >= 0 for x, _ in loss.extractor(sr, hr))
    assert loss(sr, hr).item() == pytest.approx(torch.stack(values).mean().item(), rel=1e-4)
