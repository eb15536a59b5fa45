"""The progress bar of a training."""

from types import SimpleNamespace

from sr.callback.progress_bar import TrainingProgressBar
from sr.metric.key import SetKey, StepMetrics

SET5 = SetKey("val", "Set5")


class MockBar:
    """Holds what the bar shows."""

    n = 0

    def set_postfix(self, texts: dict[str, str], refresh: bool) -> None:
        self.texts = texts

    def update(self, steps: int) -> None:
        self.n += steps


def show(measure: str) -> dict[str, str]:
    """Return what the bar shows after the loss if this measure is monitored."""
    bar = TrainingProgressBar(SET5.metric(measure))
    bar._bar = MockBar()
    values = {SET5.metric("psnr"): 24.1, SET5.metric("spectrum"): 3.21987}
    bar._update(SimpleNamespace(global_step=5), SimpleNamespace(signals={}, best=StepMetrics(5, values)))
    return bar._bar.texts


def test_the_bar_shows_the_metric_that_is_monitored() -> None:
    assert show("psnr") == {"best psnr": "24.10 dB"}
    assert show("spectrum") == {"best spectrum": "3.2199"}
