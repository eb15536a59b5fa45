"""Parameter counts against the papers' tables (`published.csv`) and the output of the official codes."""

import pytest
import torch
from torch import nn

from sr.checkpoint import architecture
from sr.config.build import build_part
from sr.config.cli import find_conf_dir
from sr.evaluation.published import read_rows
from sr.inference.complexity import count_parameters
from sr.net.carn import CARN
from sr.net.carn_m import CARNM
from sr.net.edsr import EDSR
from sr.net.espcn import ESPCN
from sr.net.fsrcnn import FSRCNN
from sr.net.hat import HAT
from sr.net.imdn import IMDN
from sr.net.rcan import RCAN
from sr.net.rrdb import RRDBNet
from sr.net.span import SPAN
from sr.net.srcnn import SRCNN
from sr.net.srresnet import SRResNet
from sr.net.swinir import SwinIR
from sr.net.vdsr import VDSR

SHIFTS = 2 * (3 * 3 + 3)  # counted by the official code for subtracting and adding the mean color


def count_kernels(net: nn.Module) -> int:
    """Count only the weights of convolutions, as some papers do."""
    return sum(p.numel() for p in net.parameters() if p.ndim == 4)


def count_with_all_upsamplers(net: nn.Module) -> int:
    """Count all three upsamplers: CARN's authors train ×2, ×3 and ×4 in one net."""
    return (
        count_parameters(net)
        - count_parameters(net.upsample)
        + sum(count_parameters(CARN(scale).upsample) for scale in (2, 3, 4))
    )


def count_without_position_bias(net: nn.Module) -> int:
    """Count without the tables of relative positions."""
    return sum(p.numel() for name, p in net.named_parameters() if "bias_table" not in name)


NETS = sorted(path.stem for path in (find_conf_dir() / "model" / "net").glob("*.yaml"))
ROWS = {(row.model, row.scale): row.params_k for row in read_rows()} | {("EDSR", 4): 43090}  # 43900 there is a misprint
NAMES = {"edsr": "EDSR-baseline", "edsr_large": "EDSR", "swinir_light": "SwinIR-light"}  # YAML -> name in the tables
TWINS = {"SRGAN": "SRResNet"}  # another name of the same generator
UNPUBLISHED = {
    "carn_m", "efdn", "hat", "plain", "residual", "rfdn", "span", "spandrel", "srresnet_small", "srvgg", "swinir",
    "tutorial", "zero_filled",
}  # fmt: skip
COUNTERS = {
    "fsrcnn": count_kernels,
    "srcnn": count_kernels,
    "vdsr": count_kernels,
    "carn": count_with_all_upsamplers,
    "swinir_light": count_without_position_bias,
}
LUMA = ("srcnn", "fsrcnn", "espcn", "vdsr")
OPTIONS = {"srcnn": {"middle": 5}}  # the tables' SRCNN is 9-5-5


def find_rows(choice: str) -> dict[int, int]:
    """Return thousands of parameters by scale, from the published rows of `model/net=choice`."""
    name = NAMES.get(choice, choice).lower()
    return {scale: thousands for (model, scale), thousands in ROWS.items() if model.lower() == name}


@pytest.mark.parametrize("choice", NETS)
def test_as_many_parameters_as_published(choice: str) -> None:
    """The count equals the printed one to its last digit; every net has a row, or is listed as having none."""
    rows = find_rows(choice)
    assert bool(rows) != (choice in UNPUBLISHED), (
        f"model/net={choice}: sr/published.csv has {len(rows)} rows of it; a net without a row is named in UNPUBLISHED, "
        "one with another name there in NAMES"
    )
    for scale, thousands in rows.items():
        node = architecture.compose_net_config(choice, scale, 1 if choice in LUMA else 3) | OPTIONS.get(choice, {})
        with torch.device("cpu" if "swinir" in choice else "meta"):
            counted = COUNTERS.get(choice, count_parameters)(build_part(node, "model.net")) / 1000
        printed = str(thousands)
        digit = 10 ** (len(printed) - len(printed.rstrip("0"))) if thousands else 0
        assert abs(counted - thousands) <= digit, f"×{scale}: {counted:.1f} K here, {thousands} K published"


def test_every_published_model_is_a_net_of_sr() -> None:
    ours = {NAMES.get(choice, choice).lower() for choice in NETS}
    assert {TWINS.get(model, model).lower() for model, _ in ROWS} <= ours


@pytest.mark.parametrize(("scale", "thousands"), [(2, 1370), (3, 1555), (4, 1518)])
def test_edsr_baseline(scale: int, thousands: int) -> None:
    """The tables of efficient-SR papers have 1,370 K, 1,555 K, 1,518 K (CARN, IMDN: EDSR-baseline)."""
    assert abs(count_parameters(EDSR(scale)) / 1000 - thousands) < 1


@pytest.mark.parametrize(("scale", "millions"), [(2, 40.73), (3, 43.68), (4, 43.09)])
def test_edsr_of_the_challenge(scale: int, millions: float) -> None:
    """43 M at ×4 (Lim et al., table 1); to two decimals in later papers' tables."""
    with torch.device("meta"):
        assert round(count_parameters(EDSR(scale, width=256, blocks=32, res_scale=0.1)) / 1e6, 2) == millions


def test_srcnn_and_espcn() -> None:
    """SRCNN 9-1-5: 8,032 weights (Dong et al., section 4.3). ESPCN ×3 by hand: 5-3-3, 64-32-9 with biases."""
    assert count_kernels(SRCNN(2)) == 8032
    assert count_parameters(ESPCN(3)) == (25 * 64 + 64) + (9 * 64 * 32 + 32) + (9 * 32 * 9 + 9)


def test_srresnet() -> None:
    """×4: 1.5 M, the usual figure for Ledig et al.'s generator."""
    assert round(count_parameters(SRResNet(4)) / 1e5) == 15


def test_fsrcnn_and_vdsr() -> None:
    """FSRCNN (56, 12, 4): 12,464 weights (Dong et al.), at every scale. VDSR: 665 K in all tables."""
    assert [count_kernels(FSRCNN(scale)) for scale in (2, 3, 4)] == [12464] * 3
    assert count_kernels(VDSR(2)) == 9 * 64 * (1 + 18 * 64 + 1)
    assert round(count_kernels(VDSR(2)) / 1000) == 665


@pytest.mark.parametrize(("scale", "thousands"), [(2, 694), (3, 703), (4, 715)])
def test_imdn(scale: int, thousands: int) -> None:
    """The counts are those of Hui et al. and the tables of all later papers."""
    assert round(count_parameters(IMDN(scale)) / 1000) == thousands


def test_carn_m() -> None:
    """412 K weights (Ahn et al.), who count the upsamplers of ×2, ×3 and ×4 together."""
    upsamplers = sum(count_kernels(CARNM(scale).upsample) for scale in (2, 3, 4))
    assert round((count_kernels(CARNM(2)) - count_kernels(CARNM(2).upsample) + upsamplers) / 1000) == 412


def test_rcan() -> None:
    """The official code prints 15,444,667 at ×2 and 15,592,379 at ×4, mean shifts included."""
    with torch.device("meta"):
        assert [count_parameters(RCAN(scale)) + SHIFTS for scale in (2, 4)] == [15_444_667, 15_592_379]


def test_rrdb() -> None:
    """ESRGAN's ×4: 16.70 M."""
    with torch.device("meta"):
        assert count_parameters(RRDBNet(4)) == 16_697_987


def test_span_and_the_windowed_ones() -> None:
    """SPAN-S 411 K and 426 K, SPAN 498 K at ×4, as deployed (Wan et al.). SwinIR 11.8 M, HAT 20.8 M at ×4."""
    assert [round(count_parameters(SPAN(scale, deployed=True)) / 1000) for scale in (2, 4)] == [411, 426]
    assert round(count_parameters(SPAN(4, width=52).deploy()) / 1000) == 498
    pytest.importorskip("spandrel", reason="spandrel is not installed: pip install 'sr[zoo]'")
    classical = SwinIR(2, width=180, depths=[6] * 6, heads=[6] * 6, direct=False)
    assert [round(count_parameters(net) / 1e5) for net in (classical, HAT(4))] == [118, 208]
