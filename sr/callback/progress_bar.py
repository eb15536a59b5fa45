"""The progress bar of a training."""

import sr.runtime.torchvision_shim  # noqa: F401  before Lightning and torchmetrics

import sys
import time

from pytorch_lightning import Callback, Trainer

from sr.metric.key import MetricKey
from sr.model.module import SRModule
from sr.runtime.terminal import ProgressBar

TTY_INTERVAL, LOG_INTERVAL = 0.5, 10.0  # seconds between two updates in a terminal and elsewhere


class TrainingProgressBar(Callback):
    """Shows steps, rate, time left, losses and the best value so far of `key`, the metric that selects best.ckpt."""

    def __init__(self, key: MetricKey) -> None:
        self.key = key
        self._bar: ProgressBar | None = None
        self._last_update = 0.0

    def on_train_start(self, trainer: Trainer, module: SRModule) -> None:
        is_terminal = sys.stderr.isatty()
        self._interval = TTY_INTERVAL if is_terminal else LOG_INTERVAL
        self._bar = ProgressBar(
            total=module.total_steps,
            initial=trainer.global_step,
            desc="train",
            unit="step",
            mininterval=self._interval,
            dynamic_ncols=is_terminal,
            smoothing=0.05,
        )

    def on_train_batch_end(self, trainer: Trainer, module: SRModule, *_: object) -> None:
        now = time.monotonic()
        if now - self._last_update >= self._interval or trainer.global_step >= self._bar.total:
            self._last_update = now
            self._update(trainer, module)

    def on_validation_end(self, trainer: Trainer, module: SRModule) -> None:
        if self._bar is not None:
            self._update(trainer, module)

    def on_train_end(self, trainer: Trainer, module: SRModule) -> None:
        self._bar.close()

    def on_exception(self, trainer: Trainer, module: SRModule, exception: BaseException) -> None:
        if self._bar is not None:
            self._bar.close()

    def _update(self, trainer: Trainer, module: SRModule) -> None:
        signals, texts = module.signals, {}
        for name in ("loss", "loss_g", "loss_d"):
            if f"train/{name}" in signals:
                texts[name] = f"{float(signals[f'train/{name}']):.4f}"
        if self.key in module.best.values:
            best, is_psnr = module.best.values[self.key], self.key.measure == "psnr"
            texts[f"best {self.key.measure}"] = f"{best:.2f} dB" if is_psnr else f"{best:.4f}"
        self._bar.set_postfix(texts, refresh=False)
        self._bar.update(trainer.global_step - self._bar.n)
