"""Data sources and trackers as Lightning's `Trainer` takes them.

They are no classes of Lightning themselves, because commands without a trainer use them as well: `sr.evaluate` would
import Lightning, which takes longer than many an evaluation.
"""

import sr.runtime.torchvision_shim  # noqa: F401  before Lightning and torchmetrics

from typing import Any

import torch
from pytorch_lightning import LightningDataModule
from pytorch_lightning.loggers import Logger


class LightningData(LightningDataModule):
    """Gives a data source to a trainer, as `trainer.datamodule`; what Lightning does not know is an attribute of the source."""

    def __init__(self, source: Any) -> None:
        self.source = source  # first, for its `trainer` is set below
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True  # a set may have fewer images than processes

    @property
    def trainer(self) -> Any:
        """The trainer, which the source asks for the number of processes."""
        return self.source.trainer

    @trainer.setter
    def trainer(self, trainer: Any) -> None:
        self.source.trainer = trainer

    def prepare_data(self) -> None:
        self.source.prepare_data()

    def setup(self, stage: str) -> None:
        self.source.setup(stage)

    def train_dataloader(self) -> Any:
        return self.source.train_dataloader()

    def val_dataloader(self) -> Any:
        return self.source.val_dataloader()

    def test_dataloader(self) -> Any:
        return self.source.test_dataloader()

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Return the batch on `device`; for a CPU as it is, which saves Lightning's walk through it."""
        return batch if device.type == "cpu" else super().transfer_batch_to_device(batch, device, dataloader_idx)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return self.source.on_after_batch_transfer(batch, dataloader_idx)

    def __getattr__(self, name: str) -> Any:
        if name == "source":  # of an object that is not initialized, as while it is unpickled
            raise AttributeError(name)
        return getattr(self.source, name)


class TrackerLogger(Logger):
    """Gives a tracker to a trainer as its logger."""

    def __init__(self, tracker: Any) -> None:
        super().__init__()
        self.tracker = tracker

    @property
    def name(self) -> str:
        return "sr"

    @property
    def version(self) -> str | None:
        return self.tracker.run_id

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Report scalars that a model logs by Lightning's `self.log`."""
        self.tracker.log_points(metrics, step or 0)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Ignore the call: the tracker has the options from `start`."""
