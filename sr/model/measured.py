"""Measuring a net, and bicubic beside it, on every evaluation set, while it learns and when it has learned."""

import sr.runtime.torchvision_shim  # noqa: F401  before Lightning and torchmetrics

import contextlib
import sys
from typing import NamedTuple

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from sr.image.batch import Pair
from sr.image.resize import upscale_bicubic
from sr.inference.memory import FEWER_METRICS, is_out_of_memory, report_out_of_memory
from sr.inference.upscale import upscale
from sr.metric.key import MetricKey, SetKey, Stage
from sr.metric.protocol import Protocol
from sr.metric.score import Score
from sr.model.ema import EMA

SMALLEST_TILE = 64  # LR pixels; what does not fit in memory then will not fit at all


class EvaluationOutput(NamedTuple):
    """What a measuring step hands to the callbacks; float 0…1."""

    lr: Tensor  # [B, C, h, w]
    sr: Tensor  # [B, C, s·h, s·w]
    hr: Tensor  # [B, C, s·h, s·w]


class EvaluationModule(LightningModule):
    """After a validation or test, `metrics` and `bicubic` hold means by key, and `per_image` the single values by set. Where
    there is an `ema`, its averaged weights are what is measured; the last step's are measured beside them (`raw`).
    """

    def __init__(self, net: nn.Module, ema: EMA | None, metric: Protocol, color: str) -> None:
        super().__init__()
        self.net, self.ema = net, ema
        self.metric, self.color = metric, color
        self.metrics: dict[MetricKey, float] = {}
        self.bicubic: dict[MetricKey, float] = {}  # by the keys of `metrics`
        self.per_image: dict[SetKey, dict[str, list[float]]] = {}
        self._scores: dict[SetKey, Score] = {}
        self._tile: int | None = None  # LR pixels, once a picture did not fit in memory

    @property
    def eval_net(self) -> nn.Module:
        """The net whose numbers count: the averaged one where there is one."""
        return self.net if self.ema is None else self.ema.net

    def validation_step(self, pair: Pair | None, batch_idx: int, dataloader_idx: int = 0) -> EvaluationOutput | None:
        return self._measure("val", pair, dataloader_idx)

    def test_step(self, pair: Pair | None, batch_idx: int, dataloader_idx: int = 0) -> EvaluationOutput | None:
        return self._measure("test", pair, dataloader_idx)

    def on_validation_epoch_start(self) -> None:
        self._begin("val")

    def on_test_epoch_start(self) -> None:
        self._begin("test")

    def _begin(self, part: Stage) -> None:
        """A score for each set, also where this process gets none of its pictures: it will be asked for its share."""
        self._scores.clear()
        for key in (self._key(part, index) for index in range(len(self.trainer.datamodule.sets[part]))):
            self._scores[key] = Score(self.metric)
            if self.ema is not None and part == "val":
                self._scores[key._replace(weights="raw")] = Score(self.metric)
            if key.metric("psnr") not in self.bicubic:  # the same at every validation, so once is enough
                self._scores[key._replace(weights="bicubic")] = Score(self.metric)
        for score in self._scores.values():
            score.to(self.device)

    def on_validation_epoch_end(self) -> None:
        for key, score in self._scores.items():
            means = score.compute()
            if key.weights == "bicubic":
                self.bicubic |= {key._replace(weights="").metric(name): value for name, value in means.items()}
            else:
                self.metrics |= {key.metric(name): value for name, value in means.items()}
            with score.sync_context():
                self.per_image[key] = score.per_image()  # each process has a run of pictures: they stay in order

    on_test_epoch_end = on_validation_epoch_end

    def _measure(self, part: Stage, pair: Pair | None, set_index: int) -> EvaluationOutput | None:
        if pair is None:  # of several processes, one that has none
            return None
        key = self._key(part, set_index)
        sr = self._enlarged(self.eval_net, pair.lr)
        self._score(key, sr, pair)
        if (raw := key._replace(weights="raw")) in self._scores:
            self._score(raw, self._enlarged(self.net, pair.lr), pair)
        if (bicubic := key._replace(weights="bicubic")) in self._scores:
            self._score(bicubic, upscale_bicubic(pair.lr, self.metric.scale), pair)
        return EvaluationOutput(pair.lr, sr, pair.hr)

    def _score(self, key: SetKey, sr: Tensor, pair: Pair) -> None:
        with report_out_of_memory(f"{key}: a picture of {sr.shape[-1]}×{sr.shape[-2]}", FEWER_METRICS):
            self._scores[key].update(sr, pair.hr, pair.lr)

    def _key(self, part: Stage, set_index: int) -> SetKey:
        return SetKey(part, self.trainer.datamodule.set_name(part, set_index))

    def _enlarged(self, net: nn.Module, lr: Tensor) -> Tensor:
        """In ever smaller tiles, once a whole picture did not fit in memory."""
        while True:
            try:
                with self._uncompiled():
                    return upscale(net, lr, self.color, tile=self._tile)
            except RuntimeError as error:
                side = self._tile or max(lr.shape[-2:])
                if not is_out_of_memory(error) or side <= SMALLEST_TILE:
                    raise
            torch.cuda.empty_cache()
            self._tile = max(SMALLEST_TILE, side // 2)
            size = f"{lr.shape[-1]}×{lr.shape[-2]}"
            print(f"an LR picture of {size} does not fit in memory: tiles of {self._tile} now", file=sys.stderr)

    def _uncompiled(self) -> contextlib.AbstractContextManager:
        """Each picture to be measured has a size of its own, and would be compiled for."""
        return torch.compiler.set_stance("force_eager") if self.trainer.compile else contextlib.nullcontext()
