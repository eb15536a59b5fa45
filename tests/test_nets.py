"""Nets: the declared receptive field is measured, tiles equal the whole image, merged branches equal the net, --info."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sr.checkpoint import architecture
from sr.checkpoint.load import load_checkpoint
from sr.config.cli import find_conf_dir
from sr.inference.upscale import upscale
from sr.net.carn import CARN
from sr.net.hat import HAT
from sr.net.span import SPAN, Conv3XC
from sr.net.srvgg import SRVGGNetCompact
from sr.net.swinir import SwinIR
from sr.runtime.error import UserError

SMALL = {"width": 8, "blocks": 1, "depth": 3, "groups": 1, "growth": 4, "depths": [2], "heads": [2], "window": 8}
# The grid of their pooling is stretched to the image; at other sizes the receptive field is smaller.
STRETCHED = ("rfdn", "efdn", "safmn")
UNKNOWN = ("spandrel",)  # None, because it is unknown
NODES: dict[str, dict[str, Any]] = {}


@pytest.fixture
def small(compose: Any, build: Any) -> Callable[..., nn.Module]:
    """`small(choice, scale)` builds the net of a YAML in float64, with few and narrow layers."""

    def build_small(choice: str, scale: int) -> nn.Module:
        torch.manual_seed(0)  # the weights do not depend on the tests before
        if choice not in NODES:
            node = compose.net(choice, 2, 3)
            NODES[choice] = node | {k: v for k, v in SMALL.items() if isinstance(node.get(k), type(v))}
        return add_noise(build.build_part(NODES[choice] | {"scale": scale}, "model.net").double().eval(), scale)

    return build_small


@torch.no_grad()
def add_noise(net: nn.Module, seed: int) -> nn.Module:
    """Add noise to all weights: a last layer of zeros, as in plain, would hide all others."""
    torch.manual_seed(seed)
    for weight in net.parameters():
        weight.add_(0.1 * torch.randn_like(weight))
    return net


def measure_receptive_field(net: nn.Module, side: int, seed: int) -> int:
    """Measure a receptive field by gradients: the side of the square of LR pixels that influence the outputs of a pixel.

    It is the largest of eight neighboring pixels, in a dark upright image or a lying one of DIV2K's mean.
    """
    reach, s = 0, add_noise(net, seed).scale
    lr = (0.43 * (seed % 2) + 0.01 * torch.rand(1, 3, side, 8).double()).requires_grad_()
    sr = net(lr.mT).mT if seed % 2 else net(lr)
    for pixel in range(side // 2 - 4, side // 2 + 4):
        block = sr[..., s * pixel : s * (pixel + 1), :]
        (slope,) = torch.autograd.grad((block * torch.randn_like(block)).sum(), lr, retain_graph=True)
        slope = slope.abs().amax((0, 1, 3))
        seen = (slope > 1e-25 * slope.max()).nonzero()  # attention masks let e^-100 through
        reach = max(reach, pixel - int(seen.min()), int(seen.max()) - pixel)
    return 2 * reach + 1


@pytest.mark.group("model/net")
@pytest.mark.parametrize("scale", [2, 3])
def test_the_receptive_field_is_the_declared_one(choice: str, scale: int, small: Callable) -> None:
    """If it were larger, tiles would be visible; if smaller, they would cost too much. None: the whole image."""
    if choice in UNKNOWN:
        return
    net = small(choice, scale)
    if not hasattr(net, "receptive_field") and not (find_conf_dir() / "model" / "net" / f"{choice}.yaml").exists():
        return  # a user's own net need not declare it
    if net.receptive_field is None:
        assert any(measure_receptive_field(net, 41, seed) >= 41 for seed in range(8))
        return
    found = max(measure_receptive_field(net, net.receptive_field + 10, seed) for seed in range(2))
    assert found <= net.receptive_field
    assert found == net.receptive_field or choice in STRETCHED


@pytest.mark.parametrize("scale", [4, 8])
@pytest.mark.parametrize("choice", ["edsr", "fsrcnn", "espcn", "rrdb", "carn_m"])
def test_the_receptive_field_of_several_upsampling_steps(choice: str, scale: int, small: Callable) -> None:
    net = small(choice, scale)
    assert max(measure_receptive_field(net, net.receptive_field + 10, seed) for seed in range(2)) == net.receptive_field


@pytest.mark.parametrize("scale", [2, 3])
def test_srvgg_downscales_as_interpolate_does(scale: int) -> None:
    """Real-ESRGAN's ×2 and ×3 for videos are its ×4, downscaled bicubically without antialiasing."""
    torch.manual_seed(0)
    net, whole = (SRVGGNetCompact(s, width=4, depth=1, shuffle=4).double().eval() for s in (scale, 4))
    assert max(measure_receptive_field(net, 19, seed) for seed in range(2)) == net.receptive_field == 9
    whole.load_state_dict(net.state_dict())
    lr = torch.rand(1, 3, 7, 5).double()
    expected = F.interpolate(whole(lr), scale_factor=scale / 4, mode="bicubic")
    torch.testing.assert_close(net(lr), expected, atol=1e-6, rtol=0)


@pytest.mark.group("model/net")
def test_tiles_equal_the_whole_image_if_the_receptive_field_fits(choice: str, small: Callable) -> None:
    """Odd sizes and odd tiles; the image is larger than the margin, or nothing would be tiled."""
    if choice in (*UNKNOWN, *STRETCHED):
        return
    net = small(choice, 2)
    if getattr(net, "receptive_field", None) is None:
        return
    lr = torch.rand(1, 3, 11, net.receptive_field + 32).double()
    with torch.no_grad():
        whole, parts = net(lr), upscale(net, lr, "rgb", tile=19)
    torch.testing.assert_close(parts, whole, rtol=1e-9, atol=1e-9 * float(whole.abs().max()))


@pytest.mark.parametrize(("field", "widths"), [(7, [208, 208]), (None, [232, 232]), (999, [328, 328])])
def test_the_margin_follows_the_receptive_field(field: int | None, widths: list[int]) -> None:
    """It is half the receptive field, at most 128, and 32 if that is unbounded; tiles begin at multiples of 8."""
    seen = []

    class Net(nn.Module):
        scale, receptive_field = 1, field

        def forward(self, lr: Tensor) -> Tensor:
            seen.append(lr.shape[-1])
            return lr

    lr = torch.rand(1, 1, 8, 400)
    torch.testing.assert_close(upscale(Net(), lr, "rgb", tile=200), lr)
    assert seen == widths


def compute_branches(conv: Conv3XC, x: Tensor) -> Tensor:
    """Compute the paper's figure layer by layer: three convolutions of the padded image, and a skip."""
    return conv.conv(F.pad(x, (1, 1, 1, 1))) + conv.sk(x)


def test_deployed_span_equals_trained_span(monkeypatch: pytest.MonkeyPatch) -> None:
    """One convolution in place of four gives the same image, and in training the same gradients."""
    torch.manual_seed(0)
    net, lr = SPAN(3, width=8), torch.rand(1, 3, 9, 13)
    merged = net(lr)
    own = torch.autograd.grad(merged.square().mean(), list(net.parameters()))
    with torch.no_grad():
        deployed = net.deploy()(lr)
    monkeypatch.setattr(Conv3XC, "forward", compute_branches)
    learned = net(lr)
    official = torch.autograd.grad(learned.square().mean(), list(net.parameters()))
    largest = float(learned.detach().abs().max())
    assert float((learned - deployed).detach().abs().max()) < 1e-5 * largest
    assert float((learned - merged).detach().abs().max()) < 1e-5 * largest
    for mine, other in zip(own, official, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-4 * float(other.abs().max()))


def test_official_files_of_span_and_carn_find_their_net(tmp_path: Path) -> None:
    """SPAN's files also contain an outdated merged convolution, CARN's the upsamplers of three scales."""
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
    """Their names lack the prefix `model.`; without model/net spandrel loads them. Tiny images are accepted."""
    pytest.importorskip("spandrel", reason="spandrel is not installed: pip install 'sr[zoo]'")
    own = net(2, width=12, depths=[2], heads=[2]).eval()
    torch.save({"params_ema": {k.removeprefix("model."): v for k, v in own.state_dict().items()}}, tmp_path / "a.pth")
    options = {"width": 12, "depths": [2], "heads": [2]}
    node = {"_target_": f"{net.__module__}.{net.__name__}", "scale": 2, "channels": 3} | options
    lr = torch.rand(1, 3, 17, 26)
    with torch.no_grad():
        assert torch.equal(load_checkpoint(tmp_path / "a.pth", net=node).net(lr), own(lr))
        assert torch.equal(load_checkpoint(tmp_path / "a.pth").net(lr), own(lr))
        assert own(lr[..., :3, :1]).shape == (1, 3, 6, 2)


@pytest.mark.parametrize("net", ["swinir_light", "hat"])
def test_a_missing_extra_is_named(net: str, sr: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SwinIR", "HAT"):
        monkeypatch.setitem(sys.modules, f"spandrel.architectures.{name}", None)
    monkeypatch.setitem(sys.modules, "spandrel", None)
    answer = sr("run", "--info", f"model/net={net}")
    assert answer.code == 2
    assert "pip install 'sr[zoo]'" in answer.err


def test_info(sr: Callable, tmp_path: Path) -> None:
    """It prints parameters, multiply-adds and receptive field of the composed net, without data or a run."""
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


def test_detecting_an_architecture_does_not_need_the_extra() -> None:
    """Weight files are compared with nets on the meta device; those that cannot be built there are skipped."""
    with torch.device("meta"), pytest.raises(UserError, match="without its weights"):
        SwinIR(2)
