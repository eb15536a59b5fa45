"""Names of metrics: composed and parsed in one place, and equal to those that older runs have on disk."""

import pytest

from sr.metric.key import MetricKey, SetKey, StepMetrics, name_metrics, parse_metrics
from sr.metric.protocol import Protocol

NAMES = {
    "val/Set5/psnr": MetricKey("val", "Set5", "psnr"),
    "val/Set5/psnr_raw": MetricKey("val", "Set5", "psnr", "raw"),
    "val/Set5/psnr_bicubic": MetricKey("val", "Set5", "psnr", "bicubic"),
    "test/my photos/lr_psnr": MetricKey("test", "my photos", "lr_psnr"),
    "test/Set14/ms_per_image": MetricKey("test", "Set14", "ms_per_image"),
    "best/val/Set5/ssim": MetricKey("val", "Set5", "ssim", checkpoint="best"),
    "best_spectrum/val/Set5/lpips_vgg": MetricKey("val", "Set5", "lpips_vgg", checkpoint="best_spectrum"),
}


@pytest.mark.parametrize(("name", "key"), NAMES.items())
def test_name_is_composed_and_parsed(name: str, key: MetricKey) -> None:
    assert (str(key), MetricKey.parse(name)) == (name, key)


@pytest.mark.parametrize("name", ["psnr", "train/loss", "val/psnr", "Set5/val/psnr", "val/a/b/psnr", "best/step", ""])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="such as val/Set5/psnr"):
        MetricKey.parse(name)


@pytest.mark.parametrize(
    ("lr", "column"),
    [
        ("Bicubic(scale=2, border=mirror)", "val/Set5 x2 edsr/psnr_raw"),
        ("Bicubic(scale=2, border=replicate)", "val/Set5 x2 edsr Bicubic-scale-2-border-replicate/psnr_raw"),
        ("x" * 99, f"val/Set5 x2 edsr {'x' * 60}/psnr_raw"),
    ],
)
def test_column_names_scale_protocol_and_unusual_lr(lr: str, column: str) -> None:
    key = MetricKey("val", "Set5", "psnr", "raw")
    assert key.column(Protocol("edsr", 2, "rgb"), lr) == column
    assert key._replace(checkpoint="best").column(Protocol("edsr", 2, "rgb"), lr) == f"best/{column}"


def test_metrics_are_stored_under_plain_names() -> None:
    metrics = {SetKey("val", "Set5").metric("psnr"): 30.0, SetKey("val", "Set5", "raw").metric("psnr"): 29.0}
    assert name_metrics(metrics) == {"val/Set5/psnr": 30.0, "val/Set5/psnr_raw": 29.0}
    assert parse_metrics(name_metrics(metrics)) == metrics


def test_metrics_of_a_step_are_stored_as_older_checkpoints_have_them() -> None:
    best = StepMetrics(900, {MetricKey("val", "Set5", "psnr"): 30.0})
    assert best.to_plain() == {"val/Set5/psnr": 30.0, "step": 900}
    assert best.to_plain("best_spectrum") == {"best_spectrum/val/Set5/psnr": 30.0, "best_spectrum/step": 900}
    assert StepMetrics.from_plain(best.to_plain()) == best
    assert StepMetrics().to_plain() == {} and StepMetrics.from_plain({}) == StepMetrics()
