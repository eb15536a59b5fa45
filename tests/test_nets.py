"""What a net says of itself is true: how far it looks, what tiles make of that, what merging its branches gives, --info."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sr.checkpoint import architecture
from sr.checkpoint.load import load_checkpoint
from sr.config.cli import find_conf_dir
from sr.inference.tile import upscale_tiled
from sr.inference.upscale import upscale
from sr.net.carn import CARN
from sr.net.hat import HAT
from sr.net.span import SPAN, Conv3XC
from sr.net.swinir import SwinIR
from sr.runtime.error import UserError

SMALL = {"width": 8, "blocks": 1, "depth": 3, "groups": 1, "growth": 4, "depths": [2], "heads": [2], "window": 8}
STRETCHED = ("rfdn", "efdn", "safmn")  # their pooling's grid is stretched to the picture: other sizes look less far
UNKNOWN = ("spandrel",)  # says None because nobody knows
NODES: dict[str, dict[str, Any]] = {}


@pytest.fixture
def small(compose: Any, build: Any) -> Callable[..., nn.Module]:
    """`small(choice, scale)`: a YAML's net, double, with few and narrow layers."""

    def made(choice: str, scale: int) -> nn.Module:
        if choice not in NODES:
            node = compose(f"model/net={choice}")["model"]["net"]
            NODES[choice] = node | {k: v for k, v in SMALL.items() if isinstance(node.get(k), type(v))}
        return shaken(build.build_part(NODES[choice] | {"scale": scale}, "model.net").double().eval(), scale)

    return made


@torch.no_grad()
def shaken(net: nn.Module, seed: int) -> nn.Module:
    """Other weights, none of which is zero: plain's last layer of zeros would hide all others."""
    torch.manual_seed(seed)
    for weight in net.parameters():
        weight.add_(0.1 * torch.randn_like(weight))
    return net


def looks(net: nn.Module, side: int, seed: int) -> int:
    """The side of the square of input that reaches a pixel's outputs, by gradient: the widest that is found among eight
    neighbours, in a dark and upright picture, or in a lying one of DIV2K's mean."""
    reach, s = 0, shaken(net, seed).scale
    lr = (0.43 * (seed % 2) + 0.01 * torch.rand(1, 3, side, 8).double()).requires_grad_()
    sr = net(lr.mT).mT if seed % 2 else net(lr)
    for pixel in range(side // 2 - 4, side // 2 + 4):
        block = sr[..., s * pixel : s * (pixel + 1), :]
        (slope,) = torch.autograd.grad((block * torch.randn_like(block)).sum(), lr, retain_graph=True)
        slope = slope.abs().amax((0, 1, 3))
        seen = (slope > 1e-25 * slope.max()).nonzero()  # what attention masks lets e^-100 through
        reach = max(reach, pixel - int(seen.min()), int(seen.max()) - pixel)
    return 2 * reach + 1


@pytest.mark.group("model/net")
@pytest.mark.parametrize("scale", [2, 3])
def test_a_net_looks_as_far_as_it_says(choice: str, scale: int, small: Callable) -> None:
    """Not less, or tiles would show; not more, or they would cost too much. None: as far as there is a picture."""
    if choice in UNKNOWN:
        return
    net = small(choice, scale)
    if not hasattr(net, "receptive_field") and not (find_conf_dir() / "model" / "net" / f"{choice}.yaml").exists():
        return  # somebody's own may leave it open
    if net.receptive_field is None:
        assert any(looks(net, 41, seed) >= 41 for seed in range(8))
        return
    found = max(looks(net, net.receptive_field + 10, seed) for seed in range(2))
    assert found <= net.receptive_field
    assert found == net.receptive_field or choice in STRETCHED


@pytest.mark.parametrize("scale", [4, 8])
@pytest.mark.parametrize("choice", ["edsr", "fsrcnn", "espcn", "rrdb", "carn_m"])
def test_a_net_of_several_steps_looks_as_far_as_it_says(choice: str, scale: int, small: Callable) -> None:
    net = small(choice, scale)
    assert max(looks(net, net.receptive_field + 10, seed) for seed in range(2)) == net.receptive_field


@pytest.mark.group("model/net")
def test_tiles_are_the_whole_where_the_field_fits(choice: str, small: Callable) -> None:
    """Odd sizes, odd tiles; no margin is as wide as the picture, or nothing would be tiled."""
    if choice in (*UNKNOWN, *STRETCHED):
        return
    net = small(choice, 2)
    if getattr(net, "receptive_field", None) is None:
        return
    lr = torch.rand(1, 3, 11, net.receptive_field + 32).double()
    with torch.no_grad():
        whole, parts = net(lr), upscale(net, lr, "rgb", tile=19)
    torch.testing.assert_close(parts, whole, rtol=1e-9, atol=1e-9 * float(whole.abs().max()))


@pytest.mark.parametrize(("field", "widths"), [(7, [103, 104]), (None, [132, 136]), (999, [164, 168])])
def test_the_margin_follows_the_field(field: int | None, widths: list[int]) -> None:
    """As far as the net looks, 64 at most, 32 where that is everywhere; a tile begins at a multiple of 8."""
    seen = []

    class Net(SimpleNamespace):
        def __call__(self, lr: Tensor) -> Tensor:
            seen.append(lr.shape[-1])
            return lr

    lr = torch.rand(1, 1, 8, 200)
    assert torch.equal(upscale_tiled(Net(receptive_field=field), lr, 1, 100), lr)
    assert seen == widths


def as_it_learns(conv: Conv3XC, x: Tensor) -> Tensor:
    """What the paper's figure shows, layer by layer: three convolutions of the padded picture, and a skip."""
    return conv.conv(F.pad(x, (1, 1, 1, 1))) + conv.sk(x)


def test_span_deployed_is_span_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """One convolution for each four: the same picture, and in training the same gradients."""
    torch.manual_seed(0)
    net, lr = SPAN(3, width=8), torch.rand(1, 3, 9, 13)
    merged = net(lr)
    ours = torch.autograd.grad(merged.square().mean(), list(net.parameters()))
    with torch.no_grad():
        deployed = net.deploy()(lr)
    monkeypatch.setattr(Conv3XC, "forward", as_it_learns)
    learned = net(lr)
    theirs = torch.autograd.grad(learned.square().mean(), list(net.parameters()))
    largest = float(learned.detach().abs().max())
    assert float((learned - deployed).detach().abs().max()) < 1e-5 * largest
    assert float((learned - merged).detach().abs().max()) < 1e-5 * largest
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-4 * float(other.abs().max()))


def test_official_files_of_span_and_carn_find_their_net(tmp_path: Path) -> None:
    """SPAN's hold a merged convolution of an earlier moment beside the branches; CARN's upsamplers of three scales."""
    span, lr = SPAN(2), torch.rand(1, 3, 9, 13)
    stale = {name: 0 * value for name, value in span.deploy().state_dict().items() if ".eval_conv." in name}
    torch.save({"params": span.state_dict() | stale}, tmp_path / "span.pth")
    node = architecture.compose_net_config("span", 2, 3) | {"deployed": True}
    for wanted in (None, node):
        loaded = load_checkpoint(tmp_path / "span.pth", net=wanted)
        assert loaded.config["model"]["net"]["_target_"] == "sr.net.span.SPAN"
        torch.testing.assert_close(loaded.net(lr), span(lr), rtol=1e-3, atol=1e-4)
    carn, shift = (
        CARN(4),
        {"sub_mean.shifter.weight": torch.eye(3)[..., None, None], "sub_mean.shifter.bias": -torch.ones(3)},
    )
    others = {name: value for s in (2, 3) for name, value in CARN(s).state_dict().items() if "upsample" in name}
    torch.save(carn.state_dict() | others | shift, tmp_path / "carn.pth")
    loaded = load_checkpoint(tmp_path / "carn.pth", scale=4)
    assert type(loaded.net) is CARN
    assert torch.equal(loaded.net(lr), carn(lr))


@pytest.mark.parametrize("net", [SwinIR, HAT])
def test_windowed_nets_take_official_files(net: type[nn.Module], tmp_path: Path) -> None:
    """Their names lack our first word; without model/net they are still loaded, by spandrel. Any size, also tiny ones."""
    pytest.importorskip("spandrel", reason="spandrel is not installed: pip install 'sr[zoo]'")
    ours = net(2, width=12, depths=[2], heads=[2]).eval()
    torch.save({"params_ema": {k.removeprefix("model."): v for k, v in ours.state_dict().items()}}, tmp_path / "a.pth")
    dials = {"width": 12, "depths": [2], "heads": [2]}
    node = {"_target_": f"{net.__module__}.{net.__name__}", "scale": 2, "channels": 3} | dials
    lr = torch.rand(1, 3, 17, 26)
    with torch.no_grad():
        assert torch.equal(load_checkpoint(tmp_path / "a.pth", net=node).net(lr), ours(lr))
        assert torch.equal(load_checkpoint(tmp_path / "a.pth").net(lr), ours(lr))
        assert ours(lr[..., :3, :1]).shape == (1, 3, 6, 2)


@pytest.mark.parametrize("net", ["swinir_light", "hat"])
def test_without_the_extra_the_message_says_so(net: str, sr: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SwinIR", "HAT"):
        monkeypatch.setitem(sys.modules, f"spandrel.architectures.{name}", None)
    monkeypatch.setitem(sys.modules, "spandrel", None)
    answer = sr("run", "--info", f"model/net={net}")
    assert answer.code == 2
    assert "pip install 'sr[zoo]'" in answer.err


def test_info(sr: Callable, tmp_path: Path) -> None:
    """Size, work and reach of the composed net; no data, no run."""
    answer = sr("run", "--info", "model/net=vdsr", "color=y", "paths.data=nowhere")
    assert answer.code == 0, answer.err
    for line in ("VDSR ×2, 1 channel", "665,921", "612.6 G for a 1280×720 output", "25×25 LR pixels"):
        assert line in answer.out
    assert not list(tmp_path.iterdir())
    answer = sr("run", "model/net=imdn", "scale=4", "--info")
    assert "715,176" in answer.out
    assert "whole image" in answer.out
    assert "IMDB3" in answer.out  # its parts
    answer = sr("run", "--info", "model/net=span")
    assert "1,824,900, and 410,700 deployed" in answer.out
    assert "94.4 G" in answer.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("model/net=imdm",), "expected one of"),
        (("model.net.widht=3",), "width"),
        (("model.net=edsr",), "model/net=edsr"),
        (("model/net=spandrel",), "model.net.file=null"),
        (("scale=5",), "scale=5"),
        (("model/net=swinir", "model.net.width=7"), "model.net.width=7"),
    ],
)
def test_info_answers_errors_as_a_run_does(sr: Callable, words: tuple[str, ...], said: str) -> None:
    answer = sr("run", "--info", *words)
    assert answer.code == 2
    assert said in answer.err


def test_the_extra_is_not_asked_for_by_the_catalog() -> None:
    """Weight files are compared with nets that cost nothing to build."""
    with torch.device("meta"), pytest.raises(UserError, match="without its weights"):
        SwinIR(2)
