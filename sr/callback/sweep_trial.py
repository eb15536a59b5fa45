"""Report the validations of a run to the sweep whose trial it is, and end the run early if the sweep prunes it."""

import sr.runtime.torchvision_shim  # noqa: F401  before Lightning and torchmetrics

from pathlib import Path

from pytorch_lightning import Callback, Trainer

from sr.callback.best import BestCheckpoint
from sr.model.module import SRModule
from sr.record.trial import TrialChannel
from sr.track.tracker import Tracker


class SweepTrial(Callback):
    """Sends the monitored value of each validation; a pruned run ends as a finished one, with the tag `sr.pruned`."""

    def __init__(self, channel: TrialChannel, best: BestCheckpoint, tracker: Tracker, folder: Path) -> None:
        self.channel, self.best, self.tracker, self.folder = channel, best, tracker, folder

    def on_fit_start(self, trainer: Trainer, module: SRModule) -> None:
        self.channel.send(folder=str(self.folder))

    def on_validation_end(self, trainer: Trainer, module: SRModule) -> None:
        if trainer.sanity_checking or self.best.key not in module.metrics:
            return
        if self.channel.ask(step=trainer.global_step, value=module.metrics[self.best.key]):
            trainer.should_stop = True
            self.tracker.set_tag("sr.pruned", f"worse than other trials at step {trainer.global_step}")
