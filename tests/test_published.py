"""Published values, and the deviations from the protocol that explain why a number differs from them."""

import pytest
import torch

from sr.evaluation.published import explain_difference, find_row, list_other_protocols, read_rows, recognize_model
from sr.metric.protocol import Protocol, require_same_protocol
from sr.metric.protocol_variants import compute_psnr_variants, pool_psnr
from sr.runtime.error import UserError


def test_a_net_is_recognized_by_its_name_and_size() -> None:
    assert recognize_model("EDSR", 1_369_859) == "EDSR-baseline"
    assert recognize_model("EDSR", 40_729_603) == "EDSR"
    assert recognize_model("EDSR", 300_000) is None
    assert recognize_model("Plain", 41_356) is None
    assert recognize_model("RRDBNet", 16_697_987) == "RRDB"
    assert recognize_model("ESPCN", 21_284) == "ESPCN"
    assert recognize_model("FSRCNN", 12_809) == "FSRCNN"


def test_a_published_row_is_of_the_same_net_scale_set_and_protocol() -> None:
    row = find_row("VDSR", 3, "Set14", "vdsr")
    assert (row.psnr, row.ssim) == (29.77, 0.8314)
    assert find_row("VDSR", 3, "Set14", "edsr") is None
    assert list_other_protocols("VDSR", 3, "Set14", "edsr") == ["vdsr"]
    assert len(read_rows()) == 174


def test_the_likely_cause_of_a_difference() -> None:
    assert explain_difference(0.006, "Set5") is None
    assert "full-range luma" in explain_difference(-1.32, "Set5")
    assert "bridge" in explain_difference(0.09, "Set14")
    assert explain_difference(0.09, "Set5") is None
    cause = explain_difference(
        1.70, "Set5", {"RGB instead of luma": 30.02, "the border is not cut": 31.5}, published=30.02
    )
    assert cause.endswith("RGB instead of luma")


def test_each_deviation_gives_its_number() -> None:
    """Full-range luma costs gray images 20·log10(219/255) = -1.322 dB, but for rounding; RGB is the protocol ntire."""
    generator = torch.Generator().manual_seed(0)
    gray = torch.randint(40, 200, (2, 1, 40, 44), generator=generator).expand(-1, 3, -1, -1) / 255
    noisy = (gray + 0.1 * torch.randn(gray[:, :1].shape, generator=generator)).clamp(0, 1)
    right = Protocol("edsr", 2, "rgb")(noisy, gray)["psnr"]
    variants = compute_psnr_variants(noisy, gray, 2)
    full = next(values for cause, values in variants.items() if "full-range" in cause)
    assert (full - right).tolist() == pytest.approx([-1.322] * 2, abs=1e-3)
    ntire = Protocol("ntire", 2, "rgb", "rgb")(noisy, gray)["psnr"]
    assert variants["RGB instead of luma"].tolist() == pytest.approx(ntire.tolist(), abs=1e-6)
    assert (variants["the result is not rounded to 8 bits"] - right).abs().max() < 0.05
    assert set(variants) > {"the border is not cut"}
    assert pool_psnr([20.0, 40.0], [100, 100]) == pytest.approx(22.967, abs=1e-3)  # not 30: protocols.md's own example


def test_results_of_two_protocols_are_never_compared() -> None:
    own = Protocol("edsr", 2, "rgb").describe("Bicubic(scale=2, border=mirror)")
    require_same_protocol(own, dict(own), "other.json")
    for other in (Protocol("edsr", 3, "rgb"), Protocol("vdsr", 2, "y", "y8"), Protocol("edsr", 2, "gray")):
        with pytest.raises(UserError, match=r"other\.json was measured under another protocol"):
            require_same_protocol(own, other.describe("Bicubic(scale=2, border=mirror)"), "other.json")
    with pytest.raises(UserError, match=r"lr: Bicubic.* here, files there"):
        require_same_protocol(own, Protocol("edsr", 2, "rgb").describe("files"), "other.json")
