"""Parameter counts against the papers' and the official code's."""

import pytest
from torch import nn

from sr.net.edsr import EDSR
from sr.net.espcn import ESPCN
from sr.net.srcnn import SRCNN
from sr.net.srresnet import SRResNet


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(("scale", "thousands"), [(2, 1370), (3, 1555), (4, 1518)])
def test_edsr_baseline(scale: int, thousands: int) -> None:
    """As in the tables of the efficient-SR papers (CARN, IMDN: EDSR-baseline 1,370 K, 1,555 K, 1,518 K)."""
    assert abs(count(EDSR(scale)) / 1000 - thousands) < 1


def test_edsr_of_the_challenge() -> None:
    """EDSR ×4: 43 M (Lim et al., table 1)."""
    assert round(count(EDSR(4, width=256, blocks=32, res_scale=0.1)) / 1e6) == 43


def test_srcnn_and_espcn() -> None:
    """SRCNN 9-1-5: 8,032 weights (Dong et al., section 4.3). ESPCN ×3 by hand: 5-3-3, 64-32-9 with biases."""
    weights = [p for name, p in SRCNN(2).named_parameters() if name.endswith("weight")]
    assert sum(p.numel() for p in weights) == 8032
    assert count(ESPCN(3)) == (25 * 64 + 64) + (9 * 64 * 32 + 32) + (9 * 32 * 9 + 9)


def test_srresnet() -> None:
    """×4: 1.5 M, the usual figure for Ledig et al.'s generator."""
    assert round(count(SRResNet(4)) / 1e5) == 15
