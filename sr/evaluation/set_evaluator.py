"""Evaluate one set of images: a predictor's results and those of bicubic interpolation, image by image."""

from collections.abc import Callable

import torch

from sr.data.image_set import ImageSet
from sr.data.module import SRDataModule
from sr.evaluation.batches import iterate_batches
from sr.evaluation.predictor import Predictor
from sr.evaluation.reference import ProtocolVariants, Reference
from sr.evaluation.volumes import group_by_volume
from sr.image.batch import EvaluationOutput
from sr.image.resize import upscale_bicubic
from sr.inference.memory import FEWER_METRICS, report_out_of_memory
from sr.metric.score import Score, group_by_image
from sr.record.result import Metrics, SetResult
from sr.runtime.error import UserError

Show = Callable[[list[str], EvaluationOutput], None]  # receives each batch with the names of its images


class SetEvaluator:
    """The evaluation of the set at `index` of the test sets of `data`."""

    def __init__(
        self, data: SRDataModule, index: int, predictor: Predictor, reference: Reference, device: torch.device
    ) -> None:
        self.data, self.predictor, self.reference, self.device = data, predictor, reference, device
        self.index, self.name = index, data.set_name("test", index)
        self.images: ImageSet = data.eval_sets["test"][index]
        self.protocol = reference.protocol
        self._score, self._bicubic = Score(self.protocol), Score(self.protocol)
        self._hr = Score(self.protocol.select_previous()) if self.protocol.needs_previous else None
        self._variants = ProtocolVariants(self.protocol)
        self._count = 0  # images that are finished

    def evaluate(self, show: Show) -> SetResult:
        """Evaluate all images, and compare their means with the reference."""
        self.predictor.start_set()
        for raw, names in iterate_batches(self.images, self.device, self.name):
            label = f"{self.name}/{names[0]}"
            pair = self.data.on_after_batch_transfer(raw, 0)
            sr = self.predictor.predict(pair, names, self.name, raw.gray)
            if not sr.isfinite().all():
                raise UserError(f"{label}: the net's output is NaN or infinite; its weights are damaged")
            bicubic = upscale_bicubic(pair.lr, self.protocol.scale)
            with report_out_of_memory(f"{label}: an image of {sr.shape[-1]}×{sr.shape[-2]}", FEWER_METRICS):
                clip = self._find_clip()
                images = self.protocol.prepare(sr, pair.hr, pair.lr)
                self._score.add(images, clip)
                self._bicubic.add(self.protocol.replace_result(images, bicubic), clip)
                if self._hr:
                    self._hr.update(pair.hr, pair.hr, pair.lr, clip)
            if self.reference.find_row(self.name):
                self._variants.update(sr, pair.hr)
            show(names, EvaluationOutput(pair.lr, sr, pair.hr))
            self._count += len(names)
        per_image = self._group_by_image()
        result = SetResult(
            count=len(self.images),
            metrics=self._score.compute(),
            bicubic=self._bicubic.compute(),
            per_image=per_image,
            per_volume=self._group_by_volume(per_image),
            protocol=self.reference.protocols[self.name],
            definitions={name: x.definition for name, x in self.protocol.also.items() if x.definition},
            tile=self._find_tile(),
            metrics_ms=self._measure_metrics(),
            **self.predictor.measure_cost(),
        )
        result.notes += self._describe_hr()
        if result.tile:
            result.notes.append(
                f"{self.predictor.tiles[result.tile]} of {result.count} images were evaluated in tiles of "
                f"{result.tile} LR pixels (tile=null does so above 2²⁰ LR pixels)"
            )
        self.reference.compare(self.name, result, self._variants)
        return result

    def _measure_metrics(self) -> Metrics:
        """Return the milliseconds that each metric took for an image and its bicubic result; none on a GPU."""
        if self.device.type != "cpu":
            return {}
        seconds = self._score.seconds
        return {name: 1000 * (seconds[name] + self._bicubic.seconds[name]) / self._count for name in seconds}

    def _find_clip(self) -> str | None:
        """Return the clip of the next image, if a metric compares it with the one before it."""
        return self.data.find_clip("test", self.index, self._count) if self.protocol.needs_previous else None

    def _describe_hr(self) -> list[str]:
        """Return a note with the values that HR itself has by metrics that compare frames, where those are not 0."""
        values = {name: value for name, value in self._hr.compute().items() if value > 0} if self._hr else {}
        values = {name: value for name, value in values.items() if name in self._hr.protocol.also}
        listed = ", ".join(f"{name} {value:.2f}" for name, value in values.items())
        return [f"HR itself has {listed}; a blurred result has less"] if values else []

    def build_unfinished_result(self) -> SetResult | None:
        """Return the values of the images that were finished before the evaluation was interrupted; None without any."""
        if not self._count:
            return None
        return SetResult(
            count=self._count, per_image=self._group_by_image(), tile=self._find_tile(), is_unfinished=True
        )

    def _find_tile(self) -> int | None:
        """Return the side of the tiles in LR pixels, if an image was not upscaled whole."""
        return max(self.predictor.tiles, default=None)

    def _group_by_volume(self, per_image: dict[str, Metrics]) -> dict[str, Metrics]:
        if not isinstance(self.images, ImageSet):
            return {}
        return group_by_volume(self.images.groups, per_image, self.images.sizes, self.protocol.scale)

    def _group_by_image(self) -> dict[str, Metrics]:
        values, bicubic = (
            {name: column[: self._count] for name, column in score.per_image().items()}
            for score in (self._score, self._bicubic)
        )
        return group_by_image(self.images.names[: self._count], values, bicubic)
