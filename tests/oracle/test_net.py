"""Nets against the authors' own weight files, their layouts, and another implementation of the same architecture."""

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sr.image.read import read_image
from sr.image.resize import imresize
from sr.inference.complexity import count_parameters
from sr.metric.protocol import Protocol
from sr.net.carn import CARN
from sr.net.carn_m import CARNM
from sr.net.edsr import EDSR, MEAN
from sr.net.efdn import EFDN
from sr.net.imdn import IMDN
from sr.net.rcan import RCAN
from sr.net.rfdn import RFDN
from sr.net.rrdb import RRDBNet
from sr.net.safmn import SAFMN
from sr.net.span import SPAN
from sr.net.spandrel import Spandrel
from sr.net.srvgg import SRVGGNetCompact
from sr.net.swinir import SwinIR
from sr.net.vdsr import VDSR
from sr.pretrained.state_dict import read_weights, translate_names, unwrap_state_dict
from sr.runtime.error import UserError

# file: net, scale, PSNR and SSIM of Set5 under protocol edsr, as published; the files of CARN-M and RFDN are not those of
# their papers' tables (31.92/.8903 and, with a larger net, 32.24/.8952): these two values were measured here
FILES = {
    "IMDN/IMDN_x2.pth": (IMDN, 2, 38.00, 0.9605),
    "IMDN/IMDN_x3.pth": (IMDN, 3, 34.36, 0.9270),
    "IMDN/IMDN_x4.pth": (IMDN, 4, 32.21, 0.8948),
    "CARN-M/carn_m.pth": (CARNM, 4, 31.88, 0.8910),
    "RFDN/RFDN_AIM.pth": (RFDN, 4, 32.16, 0.8946),
    "NTIRE_ESR/team00_EFDN.pth": (EFDN, 4, 32.08, 0.8931),
}


def load_weights(net: nn.Module, file: Path) -> nn.Module:
    net.load_state_dict(translate_names(net, unwrap_state_dict(read_weights(file))))
    return net.eval()


@torch.no_grad()
def measure_on_set5(net: nn.Module, protocol: Protocol, data: Path) -> tuple[float, float]:
    """Return mean PSNR and SSIM on Set5; LR is made from uint8 HR cropped to multiples of the scale."""
    s, values = protocol.scale, []
    for path in sorted((data / "Set5" / "HR").glob("*.png")):
        hr = read_image(path).pixels[None]
        hr = hr[..., : hr.shape[2] // s * s, : hr.shape[3] // s * s]
        measured = protocol(net(imresize(hr, 1 / s).float() / 255), hr.float() / 255)
        values.append(torch.stack([measured["psnr"][0], measured["ssim"][0]]).double())
    return tuple(torch.stack(values).mean(dim=0).tolist())


@pytest.mark.parametrize("file", FILES)
def test_the_authors_weights(file: str, sr_data: Path) -> None:
    """Names, layout, color order and value range are right if the authors' own number is the result."""
    net, scale, *expected = FILES[file]
    psnr, ssim = measure_on_set5(
        load_weights(net(scale), sr_data / "weights" / file), Protocol("edsr", scale, "rgb"), sr_data
    )
    assert (round(psnr, 2), round(ssim, 4)) == tuple(expected)  # every digit: TF32 alone would change the last one


@pytest.mark.slow
def test_vdsr_of_the_authors(sr_data: Path) -> None:
    """31.35/.8838 on Set5 ×4: luma rounded to 8 bits, LR made from it in float64 and not rounded."""
    net, protocol, values = (
        load_weights(VDSR(4), sr_data / "weights/VDSR/vdsr_official.npz"),
        Protocol("vdsr", 4, "y", "y8"),
        [],
    )
    for path in sorted((sr_data / "Set5" / "HR").glob("*.png")):
        hr = read_image(path).pixels[None]
        y = protocol.select_channels(hr[..., : hr.shape[2] // 4 * 4, : hr.shape[3] // 4 * 4]) / 255
        with torch.no_grad():
            values.append([value.item() for value in protocol(net(imresize(y, 1 / 4).float()), y).values()])
    psnr, ssim = torch.tensor(values).mean(dim=0).tolist()
    assert psnr == pytest.approx(31.35, abs=0.01)
    assert ssim == pytest.approx(0.8838, abs=0.0001)


def add_noise(net: nn.Module) -> dict[str, Tensor]:
    """Return the net's state dict with noise, so that no bias is zero."""
    return {name: value + 0.1 * torch.randn_like(value) for name, value in net.state_dict().items()}


def add_shifts(state: dict[str, Tensor], peak: float) -> dict[str, Tensor]:
    """Return a state dict with the mean shifts of official EDSR and RCAN files."""
    mean, eye = peak * torch.tensor(MEAN), torch.eye(3).view(3, 3, 1, 1)
    return {"sub_mean.weight": eye, "sub_mean.bias": -mean, **state, "add_mean.weight": eye, "add_mean.bias": mean}


def compute_in_levels(net: nn.Module, state: dict[str, Tensor], lr: Tensor) -> Tensor:
    """Compute the output as the official code does, in 0…255, and return it in 0…1."""
    net.load_state_dict(state)
    mean = 255 * torch.tensor(MEAN).double().view(1, 3, 1, 1)
    x = net.head(255 * lr - mean)
    return (net.tail(x + net.body(x)) + mean) / 255


@pytest.mark.parametrize("peak", [255, 1])
def test_edsr_from_published(peak: int) -> None:
    """A file for 0…255 gives the output of the official code; one for 0…1 is not changed."""
    net, lr = EDSR(2, width=8, blocks=2, res_scale=0.1).double(), torch.rand(1, 3, 7, 9).double()
    state = add_noise(net)
    expected = compute_in_levels(net, state, lr) if peak == 255 else (net.load_state_dict(state), net(lr))[1]
    net.load_state_dict(net.from_published(add_shifts(state, peak)))
    assert torch.allclose(net(lr), expected, rtol=1e-9, atol=1e-9)


def test_rcan_from_published() -> None:
    net, lr = RCAN(2, width=16, groups=2, blocks=2).double(), torch.rand(1, 3, 7, 9).double()
    state = add_noise(net)
    expected = compute_in_levels(net, state, lr)
    net.load_state_dict(net.from_published(add_shifts(state, 255)))
    assert torch.allclose(net(lr), expected, rtol=1e-9, atol=1e-9)


def test_rrdb_from_published() -> None:
    """ESRGAN's old names are translated; ×2 has the layout of RealESRGAN_x2plus."""
    net = RRDBNet(4, width=8, blocks=2, growth=4)
    new = {
        "body": "RRDB_trunk",
        "conv_body": "trunk_conv",
        "conv_hr": "HRconv",
        "conv_up1": "upconv1",
        "conv_up2": "upconv2",
    }
    old = {}
    for name, value in net.state_dict().items():
        room, _, rest = name.partition(".")
        old[f"{new.get(room, room)}.{rest.replace('rdb', 'RDB')}"] = value
    assert {"RRDB_trunk.1.RDB3.conv5.bias", "trunk_conv.weight", "upconv2.bias", "HRconv.bias", "conv_last.bias"} < set(
        old
    )
    back = net.from_published(old)
    assert back.keys() == net.state_dict().keys()
    assert all(torch.equal(back[name], value) for name, value in net.state_dict().items())
    assert RRDBNet(2, blocks=1).conv_first.weight.shape == (64, 12, 3, 3)


def test_vdsr_from_published() -> None:
    net = VDSR(2, width=4, depth=12)
    file = {f"w{k:02}": layer.weight for k, layer in enumerate(net.layers)}
    file |= {f"b{k:02}": layer.bias for k, layer in enumerate(net.layers)}
    state = net.from_published(file)
    assert state.keys() == net.state_dict().keys()
    assert torch.equal(state["layers.11.weight"], net.layers[11].weight)


@pytest.mark.parametrize("net", [EDSR, RCAN, RRDBNet, VDSR, CARN, CARNM, SPAN])
def test_own_weights_are_not_translated(net: type[nn.Module]) -> None:
    with torch.device("meta"):
        own = net(4)
    state = own.state_dict()
    assert own.from_published(state).keys() == state.keys()


def make_compact(scale: int, channels: int) -> dict[str, Tensor]:
    """Return weights that spandrel detects as Compact."""
    body = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.PReLU(4), nn.Conv2d(4, channels * scale**2, 3))
    return nn.ModuleDict({"body": body}).state_dict()


def test_spandrel_takes_and_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("spandrel", reason="spandrel is not installed: pip install 'sr[zoo]'")
    net = Spandrel.from_state_dict(make_compact(3, 1))
    assert (net.scale, net.channels, net.architecture) == (3, 1, "RealESRGAN Compact")
    file = tmp_path / "compact.safetensors"
    save_file(make_compact(2, 3), file)
    assert Spandrel(str(file), 2, 3)(torch.rand(1, 3, 5, 7)).shape == (1, 3, 10, 14)
    with pytest.raises(UserError, match="Compact ×2, but scale=4: use scale=2"):
        Spandrel(str(file), 4, 3)
    with pytest.raises(UserError, match="of 3 channels, but color= gives 1"):
        Spandrel(str(file), 2, 1)
    with pytest.raises(UserError, match=r"model.net.file=nowhere.pth: there is no such file"):
        Spandrel("nowhere.pth")
    with pytest.raises(UserError, match=r"model.net.file=null: expected a weight file"):
        Spandrel(None, 2, 3)
    with pytest.raises(UserError, match=r"none of spandrel's .* architectures has such weights"):
        Spandrel.from_state_dict(IMDN(2, width=8).state_dict())
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(UserError, match=r"pip install 'sr\[zoo\]'"):
        Spandrel(str(file), 2, 3)


def test_spandrel_pads_and_crops() -> None:
    """SwinIR's windows need at least 16 pixels: a smaller image is padded."""
    swinir = pytest.importorskip(
        "spandrel.architectures.SwinIR", reason="spandrel is not installed: pip install 'sr[zoo]'"
    )
    small = swinir.SwinIR(embed_dim=12, depths=[1], num_heads=[2], upscale=2, upsampler="pixelshuffledirect")
    net, lr = Spandrel.from_state_dict(small.state_dict()).eval(), torch.rand(1, 3, 9, 18)
    padded = nn.functional.pad(lr, (0, 0, 0, 7), mode="replicate")
    assert net(lr).shape == (1, 3, 18, 36)
    assert torch.equal(net(lr), net.model(padded)[..., :18, :])


@pytest.mark.parametrize(
    ("scale", "net"),
    [
        (2, RRDBNet),
        (4, RRDBNet),
        (8, RRDBNet),
        (2, RCAN),
        (3, RCAN),
        (8, RCAN),
        (2, SRVGGNetCompact),
        (4, SRVGGNetCompact),
    ],
)
def test_as_spandrel_computes_it(scale: int, net: type[nn.Module]) -> None:
    """Another implementation with the same weights gives the same image, and does not change its input."""
    pytest.importorskip("spandrel", reason="spandrel is not installed: pip install 'sr[zoo]'")
    options = {RRDBNet: {"blocks": 2}, RCAN: {"blocks": 2, "groups": 2}, SRVGGNetCompact: {"depth": 3}}[net]
    own = net(scale, **options).eval()
    lr = torch.rand(2, 3, 8, 12)
    state = add_shifts(own.state_dict(), 255) if net is RCAN else own.state_dict()
    other = Spandrel.from_state_dict(state).eval()(lr)
    assert torch.allclose(other, own(lr), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("net", [SAFMN, SPAN])
def test_the_small_ones_as_spandrel_computes_them(net: type[nn.Module]) -> None:
    """Odd sizes are accepted as in the official code; SPAN's file contains both of its forms."""
    pytest.importorskip("spandrel", reason="spandrel is not installed: pip install 'sr[zoo]'")
    own, lr = net(3).eval(), torch.rand(2, 3, 17, 27)
    file = own.state_dict() | (own.deploy().state_dict() if net is SPAN else {})
    with torch.no_grad():
        other, expected = Spandrel.from_state_dict(file).model.eval()(lr), own(lr)
    assert torch.allclose(other, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_swinir_is_detected_from_its_weights() -> None:
    """spandrel, given these weights under the official names, detects every option and builds the same net."""
    pytest.importorskip("spandrel", reason="spandrel is not installed: pip install 'sr[zoo]'")
    lr = torch.rand(1, 3, 24, 19)
    for direct in (True, False):
        own = SwinIR(4, width=24, depths=[2, 2], heads=[2, 3], direct=direct).eval()
        file = {name.removeprefix("model."): value for name, value in own.state_dict().items()}
        with torch.no_grad():
            assert torch.equal(Spandrel.from_state_dict(file).eval()(lr), own(lr))


def test_craft_through_spandrel(sr_data: Path) -> None:
    pytest.importorskip("spandrel", reason="spandrel is not installed: pip install 'sr[zoo]'")
    net = Spandrel(str(sr_data / "weights/NTIRE_ESR/team34_craft.pth"), 4, 3)
    assert (net.architecture, count_parameters(net)) == ("CRAFT", 753_344)
