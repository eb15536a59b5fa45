"""Evaluation of a net, with bicubic interpolation as the baseline, on every validation or test set."""

import sr.runtime.torchvision_shim  # noqa: F401  before Lightning and torchmetrics

import sys
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from sr.image.batch import EvaluationOutput, Pair
from sr.image.resize import upscale_bicubic
from sr.inference.memory import FEWER_METRICS, is_out_of_memory, report_out_of_memory
from sr.inference.tile import choose_tile
from sr.inference.upscale import upscale
from sr.metric.key import MetricKey, SetKey, Stage
from sr.metric.protocol import Protocol
from sr.metric.score import Score
from sr.model.ema import EMA
from sr.model.layout import disable_compile

MIN_TILE = 64  # LR pixels a side; a net that has no memory for such a tile has none for any


class EvaluationModule(LightningModule):
    """Evaluates `net`, or its average if there is an `ema`; then the weights of the last step are evaluated too (`raw`).

    After a validation or test, `metrics` and `bicubic` hold means by key, and `per_image` the values of single images by
    set.
    """

    def __init__(self, net: nn.Module, ema: EMA | None, metric: Protocol, color: str) -> None:
        super().__init__()
        self.net, self.ema = net, ema
        self.metric, self.color = metric, color
        self.metrics: dict[MetricKey, float] = {}
        self.bicubic: dict[MetricKey, float] = {}  # by the keys of `metrics`
        self.per_image: dict[SetKey, dict[str, list[float]]] = {}
        self._scores: dict[SetKey, Score] = {}
        self._tile: int | None = None  # LR pixels, once an image did not fit in memory
        self._has_reported_tiles = False  # of images that are large

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute. Lightning sets the name of the current hook some fifty times a step, for which PyTorch's search
        for weights and modules among attributes takes a tenth of a millisecond."""
        if name == "_current_fx_name":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    @property
    def eval_net(self) -> nn.Module:
        """The net that is evaluated and saved: the averaged one if there is an `ema`."""
        return self.net if self.ema is None else self.ema.net

    def validation_step(self, pair: Pair | None, batch_idx: int, dataloader_idx: int = 0) -> EvaluationOutput | None:
        return self._evaluate("val", pair, dataloader_idx, batch_idx)

    def test_step(self, pair: Pair | None, batch_idx: int, dataloader_idx: int = 0) -> EvaluationOutput | None:
        return self._evaluate("test", pair, dataloader_idx, batch_idx)

    def on_validation_epoch_start(self) -> None:
        self._reset_scores("val")

    def on_test_epoch_start(self) -> None:
        self._reset_scores("test")

    def _reset_scores(self, stage: Stage) -> None:
        """Create a score for each set, also for those with no image for this process: processes synchronize them."""
        self._scores.clear()
        for key in (self._key(stage, index) for index in range(len(self.trainer.datamodule.sets[stage]))):
            self._scores[key] = Score(self.metric)
            if self.ema is not None and stage == "val":
                self._scores[key._replace(weights="raw")] = Score(self.metric)
            if key.metric("psnr") not in self.bicubic:  # the same at every validation, so once is enough
                self._scores[key._replace(weights="bicubic")] = Score(self.metric)

    def on_validation_epoch_end(self) -> None:
        for key, own in self._scores.items():
            score = own.gather()
            means = score.compute()
            if key.weights == "bicubic":
                self.bicubic |= {key._replace(weights="").metric(name): value for name, value in means.items()}
            else:
                self.metrics |= {key.metric(name): value for name, value in means.items()}
            self.per_image[key] = score.per_image()  # each process has consecutive images: the order is preserved

    on_test_epoch_end = on_validation_epoch_end

    def _evaluate(self, stage: Stage, pair: Pair | None, set_index: int, batch: int) -> EvaluationOutput | None:
        if pair is None:  # this process has no image where others have one
            return None
        key = self._key(stage, set_index)
        has_clips = self.metric.needs_previous
        clip = self.trainer.datamodule.find_clip(stage, set_index, batch) if has_clips else None
        sr = self._upscale(self.eval_net, pair.lr)
        self._score(key, sr, pair, clip)
        if (raw := key._replace(weights="raw")) in self._scores:
            self._score(raw, self._upscale(self.net, pair.lr), pair, clip)
        if (bicubic := key._replace(weights="bicubic")) in self._scores:
            self._score(bicubic, upscale_bicubic(pair.lr, self.metric.scale), pair, clip)
        return EvaluationOutput(pair.lr, sr, pair.hr)

    def _score(self, key: SetKey, sr: Tensor, pair: Pair, clip: str | None) -> None:
        with report_out_of_memory(f"{key}: an image of {sr.shape[-1]}×{sr.shape[-2]}", FEWER_METRICS):
            self._scores[key].update(sr, pair.hr, pair.lr, clip)

    def _key(self, stage: Stage, set_index: int) -> SetKey:
        return SetKey(stage, self.trainer.datamodule.set_name(stage, set_index))

    def _upscale(self, net: nn.Module, lr: Tensor) -> Tensor:
        """Upscale a batch of images; in ever smaller tiles, once a whole image did not fit in memory."""
        size = f"{lr.shape[-1]}×{lr.shape[-2]}"
        while True:
            tile = choose_tile(net, tuple(lr.shape[-2:]), self._tile)
            if tile and self._tile is None and not self._has_reported_tiles:
                self._has_reported_tiles = True
                print(
                    f"note: an LR image of {size} is evaluated in tiles of {tile}, as all above 2²⁰ pixels",
                    file=sys.stderr,
                )
            try:
                with disable_compile(self.trainer):
                    return upscale(net, lr, self.color, tile=self._tile)
            except RuntimeError as error:
                side = tile or max(lr.shape[-2:])
                if not is_out_of_memory(error) or side <= MIN_TILE:
                    raise
            torch.cuda.empty_cache()
            self._tile = max(MIN_TILE, side // 2)
            print(f"an LR image of {size} does not fit in memory: now in tiles of {self._tile}", file=sys.stderr)
