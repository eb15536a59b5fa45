"""Log an evaluation to the tracker: the cost of the net, panels of images, and the means of each set."""

import math
from functools import partial

from PIL.Image import Image

from sr.data.module import SRDataModule
from sr.evaluation.predictor import Predictor
from sr.image.batch import EvaluationOutput
from sr.inference.ntire import NTIREScore
from sr.metric.key import MetricKey, SetKey
from sr.metric.panel import draw_panel
from sr.metric.protocol import Protocol
from sr.record.result import SetResult
from sr.track.columns import name_columns, name_image
from sr.track.tracker import Tracker


class EvaluationLogger:
    """Logs everything at step 0, for an evaluation has no steps."""

    def __init__(self, tracker: Tracker, data: SRDataModule, protocol: Protocol) -> None:
        self.tracker, self.data, self.protocol = tracker, data, protocol

    def log_cost(self, predictor: Predictor, ntire_score: NTIREScore | None) -> None:
        """Log parameters, multiply-adds and NTIRE's score, as far as they are known."""
        cost = {"parameters": predictor.parameters, "multiply_adds_1280x720": predictor.multiply_adds}
        if ntire_score:
            cost["ntire_score"] = ntire_score.value
            self.tracker.set_tag("sr.ntire_score", ", ".join(f"{k} {v}" for k, v in ntire_score.protocol.items()))
        self.tracker.log_points({f"cost/{key}": value for key, value in cost.items() if value is not None}, 0)

    def log_panels(self, set_name: str, selected: list[str], names: list[str], output: EvaluationOutput) -> None:
        """Log a panel of each image of a batch whose name is in `selected`."""
        for k, image in enumerate(names):
            if image in selected:
                single = EvaluationOutput(*(tensor[k : k + 1] for tensor in output))
                key = name_image(SetKey("test", set_name), image, self.data, self.protocol)
                self.tracker.log_image(key, partial(draw_panel, single, self.protocol, image), 0)

    def log_sheets(self, set_name: str, sheets: dict[str, Image]) -> None:
        """Log the maps of the uncertainty of images of a set."""
        for image, sheet in sheets.items():
            key = name_image(SetKey("test", set_name), f"{image} uncertainty", self.data, self.protocol)
            self.tracker.log_image(key, sheet, 0)

    def log_result(self, name: str, result: SetResult) -> None:
        """Log the means of a set, without those that are nan."""
        cost = {"ms_per_image": result.ms_per_image, "peak_memory_mb": result.peak_memory_mb}
        means = result.metrics | {key: value for key, value in cost.items() if value is not None}
        points = {MetricKey("test", name, key): value for key, value in means.items()}
        points |= {MetricKey("test", name, key, "bicubic"): value for key, value in result.bicubic.items()}
        points = {key: value for key, value in points.items() if not math.isnan(value)}
        self.tracker.log_points(name_columns(points, self.data, self.protocol), 0)
        self.tracker.mark_saved(0)  # a finished set is never evaluated again
