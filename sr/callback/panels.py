"""Log panels of sample images (`sr.metric.panel`) at every validation and test."""

import sr.runtime.torchvision_shim  # noqa: F401  before Lightning and torchmetrics

from functools import partial

from pytorch_lightning import Callback, Trainer

from sr.image.batch import EvaluationOutput
from sr.metric.key import SetKey, Stage
from sr.metric.panel import draw_panel
from sr.model.module import SRModule
from sr.track.columns import name_image
from sr.track.tracker import Tracker


class PanelLogger(Callback):
    """Logs the first `track.panels` images of each set at every validation and test, always the same crop of each."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        module: SRModule,
        output: EvaluationOutput,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._log_panels("val", trainer, module, output, batch_idx, dataloader_idx)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        module: SRModule,
        output: EvaluationOutput,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._log_panels("test", trainer, module, output, batch_idx, dataloader_idx)

    def _log_panels(
        self, stage: Stage, trainer: Trainer, module: SRModule, output: EvaluationOutput, batch_idx: int, set_index: int
    ) -> None:
        data = trainer.datamodule
        image_set = data.eval_sets[stage][set_index]
        first = batch_idx * getattr(image_set, "batch", 1)
        if not data.has_panels:
            return
        for k in range(min(len(output.hr), max(0, self.tracker.panels - first))):
            single = EvaluationOutput(*(image[k : k + 1] for image in output))
            name, step = image_set.names[first + k], trainer.global_step
            key = name_image(SetKey(stage, data.set_name(stage, set_index)), name, data, module.metric)
            draw = partial(draw_panel, single, module.metric, f"{name}, step {step}")
            self.tracker.log_image(key, draw, step)
