"""What CNN and GAN have in common: the engine around each step, and measuring the net, with bicubic beside it."""

import contextlib
import math
import sys
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from sr.color import luma
from sr.degrade.resize import bicubic
from sr.error import UserError
from sr.metric.protocol import Protocol
from sr.metric.score import Score
from sr.model.ema import EMA
from sr.model.enlarge import enlarge, out_of_memory
from sr.model.guard import Guard
from sr.model.objective import shares
from sr.pair import Pair

SMALLEST_TILE = 64  # LR pixels; what does not fit in memory then will not fit at all


class Shown(NamedTuple):
    """What a measuring step hands to the callbacks; float 0…1."""

    lr: Tensor  # [B, C, h, w]
    sr: Tensor  # [B, C, s·h, s·w]
    hr: Tensor  # [B, C, s·h, s·w]


class SRModule(LightningModule):
    """A net, how it learns, and the protocol it is measured by.

    One clock: `global_step` counts updates of the net (the generator). After a validation or test, `metrics` and
    `bicubic` hold means by name (`val/Set5/psnr`), and `per_image` the single values by `val/Set5`; `best` holds the
    metrics of the best step, and `step`. During training, `signals` holds the last step's detached scalars by name.

    With `ema`, a decay, the averaged weights are measured, kept and used; the last step's are measured beside them
    (`val/Set5/psnr_raw`). `clip` bounds the gradient's norm. Every `share_every` steps `signals` tells how much of the
    gradient each term of the loss has.
    """

    JUDGED: ClassVar[str]  # the signal by which the guard tells that the net's training explodes

    def __init__(
        self,
        net: nn.Module,
        optimizer: Callable[..., Optimizer],
        schedule: Callable[..., LRScheduler],
        metric: Protocol,
        color: str,
        guard: Guard | None = None,
        ema: float | None = None,
        clip: float | None = None,
        share_every: int = 100,
    ) -> None:
        super().__init__()
        self.net = net
        self.ema = EMA(net, ema) if ema is not None and trainable(net) else None
        self.guard = guard or Guard()
        self.clip, self.share_every = clip, share_every
        self.optimizer, self.schedule = optimizer, schedule
        self.metric, self.color = metric, color
        self.metrics: dict[str, float] = {}
        self.bicubic: dict[str, float] = {}
        self.per_image: dict[str, dict[str, list[float]]] = {}
        self.best: dict[str, float] = {}
        self.signals: dict[str, Tensor | float] = {}
        self.total_steps = 0
        self._scores: dict[str, Score] = {}
        self._tile: int | None = None  # LR pixels, once a picture did not fit in memory
        self._followed = 0  # steps of the clock

    @property
    def final(self) -> nn.Module:
        """The net whose numbers count: the averaged one where there is one."""
        return self.net if self.ema is None else self.ema.net

    def visible(self, pair: Pair) -> Pair:
        """The pair as the net sees it in training: with `color=y`, luma alone."""
        return Pair(luma(pair.lr), luma(pair.hr)) if self.color == "y" else pair

    def shown(self, pair: Pair) -> Pair:
        """This step's batch, as the net sees it, and as the device likes it."""
        self._batch = self.visible(pair)
        if self.trainer.channels_last:
            self._batch = Pair(*(image.to(memory_format=torch.channels_last) for image in self._batch))
        return self._batch

    @property
    def counts(self) -> bool:
        """Whether the weights of this step may become the best: not before the training proper has begun."""
        return True

    def rehearse(self, pair: Pair) -> None:
        """One pass before there is a run that could fail: parts that do not fit one another are told of at once."""
        self.eval()
        try:
            self.optimizer(trainable(self.net))
            with torch.no_grad():
                self._rehearse(*self.visible(Pair(pair.lr[:2], pair.hr[:2])))
        except (RuntimeError, ValueError, TypeError) as error:
            raise UserError(f"model: its parts do not fit these images or one another ({error})") from error
        self.train()

    def _rehearse(self, lr: Tensor, hr: Tensor) -> Tensor:
        sr = self.net(lr)
        if sr.shape != hr.shape:
            raise UserError(f"model/net: from {tuple(lr.shape)} came {tuple(sr.shape)}, expected {tuple(hr.shape)}")
        return sr

    def setup(self, stage: str) -> None:
        """Before DDP looks at the weights: it mixes up the gradients of those whose memory is laid out anew later."""
        if stage != "fit":
            return
        if self.trainer.channels_last:
            self.net.to(memory_format=torch.channels_last)
        if self.trainer.compile:
            backend = {} if self.trainer.compile is True else {"backend": self.trainer.compile}
            self.net.compile(**backend)  # in place: a wrapped net would write other names into checkpoints

    def on_train_start(self) -> None:
        self.metrics = {}  # of the untrained net, which are not this run's result
        self._followed = self.global_step
        self.settle(training=True)
        self.guard.keep(self, self.global_step)

    def settle(self, training: bool) -> None:
        """A schedule-free optimizer holds two sets of weights: one to learn with, one to measure and keep."""
        for optimizer in self.trainer.optimizers:
            if hasattr(optimizer, "train"):
                optimizer.train() if training else optimizer.eval()

    def tell_terms(self, terms: dict[str, Tensor], weights: dict[str, float]) -> None:
        """Where a loss has several terms, `signals` gets each of them, and now and then its share of the gradient."""
        if len(terms) > 1:
            self.signals |= {f"train/loss_{name}": term.detach() for name, term in terms.items()}
            if self.global_step % self.share_every == 0:
                pulls = shares({name: weights[name] * term for name, term in terms.items()}, trainable(self.net))
                self.signals |= {f"train/share_{name}": share for name, share in pulls.items()}

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """The gradient is complete and unscaled: measure and clip it; a step that would spoil the weights is left out."""
        weights = [p for group in optimizer.param_groups for p in group["params"]]
        norm = get_total_norm([p.grad for p in weights if p.grad is not None])
        if self.clip:
            clip_grads_with_norm_(weights, self.clip, norm)
        ours = weights[0] is trainable(self.net)[0]
        player = "" if self.automatic_optimization else "_g" if ours else "_d"
        self.signals[f"train/grad_norm{player}"] = norm
        known = torch.stack([norm, self.signals[self.JUDGED].to(norm)] if ours else [norm])
        if self.trainer.world_size > 1:
            known = self.trainer.strategy.reduce(known, reduce_op="mean")  # all processes must decide alike
        self._judge_step(optimizer, *known.tolist())

    def _judge_step(self, optimizer: Optimizer, norm: float, loss: float | None = None) -> None:
        scaled = getattr(self.trainer.precision_plugin, "scaler", None) is not None
        if scaled and not math.isfinite(norm) and math.isfinite(loss or 0):
            return  # half precision overflowed: the scaler leaves the step out and lowers its scale
        if self.guard.good(norm, loss):
            return
        self.signals["train/skipped"] = self.guard.skipped
        optimizer.zero_grad(set_to_none=not scaled)  # without gradients an optimizer does nothing
        self.guard.answer(self, self.global_step, norm, loss, self._batch)

    def on_train_batch_end(self, *_: object) -> None:
        step = self.global_step
        if step != self._followed:  # under accumulation, several batches are one step
            self._followed = step
            if self.ema is not None:
                self.ema.update(self.net)
            self.guard.keep(self, step)
        if step >= self.total_steps:
            self.trainer.should_stop = True  # so that Lightning validates the last step, whatever the interval

    def on_validation_start(self) -> None:
        self.settle(training=False)

    def on_validation_end(self) -> None:
        self.settle(training=self.trainer.state.fn == TrainerFn.FITTING)

    def validation_step(self, pair: Pair, batch_idx: int, dataloader_idx: int = 0) -> Shown:
        return self._measure("val", pair, dataloader_idx)

    def test_step(self, pair: Pair, batch_idx: int, dataloader_idx: int = 0) -> Shown:
        return self._measure("test", pair, dataloader_idx)

    def on_validation_epoch_start(self) -> None:
        self._begin("val")

    def on_test_epoch_start(self) -> None:
        self._begin("test")

    def _begin(self, part: str) -> None:
        """A score for each set, also where this process gets none of its pictures: it will be asked for its share."""
        self._scores.clear()
        for key in (self._key(part, index) for index in range(len(self.trainer.datamodule.sets[part]))):
            self._scores[key] = Score(self.metric)
            if self.ema is not None and part == "val":
                self._scores[f"raw/{key}"] = Score(self.metric)
            if f"{key}/psnr" not in self.bicubic:  # the same at every validation, so once is enough
                self._scores[f"bicubic/{key}"] = Score(self.metric)
        for score in self._scores.values():
            score.to(self.device)

    def on_validation_epoch_end(self) -> None:
        for key, score in self._scores.items():
            values = {f"{key}/{name}": value for name, value in score.compute().items()}
            if key.startswith("bicubic/"):
                self.bicubic |= {name.removeprefix("bicubic/"): value for name, value in values.items()}
            elif key.startswith("raw/"):
                self.metrics |= {f"{name.removeprefix('raw/')}_raw": value for name, value in values.items()}
            else:
                self.metrics |= values
            with score.sync_context():
                self.per_image[key] = (
                    score.per_image()
                )  # a process has a run of pictures: gathered they stand in the set's order

    on_test_epoch_end = on_validation_epoch_end

    def _measure(self, part: str, pair: Pair, set_index: int) -> Shown:
        key = self._key(part, set_index)
        sr = self._enlarged(self.final, pair.lr)
        self._scores[key].update(sr, pair.hr, pair.lr)
        if f"raw/{key}" in self._scores:
            self._scores[f"raw/{key}"].update(self._enlarged(self.net, pair.lr), pair.hr, pair.lr)
        if f"bicubic/{key}" in self._scores:
            self._scores[f"bicubic/{key}"].update(bicubic(pair.lr, self.metric.scale), pair.hr, pair.lr)
        return Shown(pair.lr, sr, pair.hr)

    def _key(self, part: str, set_index: int) -> str:
        return f"{part}/{self.trainer.datamodule.set_name(part, set_index)}"

    def _enlarged(self, net: nn.Module, lr: Tensor) -> Tensor:
        """In ever smaller tiles, once a whole picture did not fit in memory."""
        while True:
            try:
                with self._uncompiled():
                    return enlarge(net, lr, self.color, tile=self._tile)
            except RuntimeError as error:
                side = self._tile or max(lr.shape[-2:])
                if not out_of_memory(error) or side <= SMALLEST_TILE:
                    raise
            torch.cuda.empty_cache()
            self._tile = max(SMALLEST_TILE, side // 2)
            size = f"{lr.shape[-1]}×{lr.shape[-2]}"
            print(
                f"an LR picture of {size} does not fit in memory: tiles of {self._tile} from here on", file=sys.stderr
            )

    def _uncompiled(self) -> contextlib.AbstractContextManager:
        """Each picture to be measured has a size of its own, and would be compiled for."""
        return torch.compiler.set_stance("force_eager") if self.trainer.compile else contextlib.nullcontext()

    def budget(self, accumulate: int = 1) -> int:
        """Steps of the generator in this training, from `trainer.max_steps` or `trainer.max_epochs`."""
        steps = int(self.trainer.estimated_stepping_batches)  # the smaller of both, where a batch is a step
        if accumulate > 1 and (self.trainer.max_epochs or -1) > 0:
            steps = self.trainer.num_training_batches * self.trainer.max_epochs // accumulate
            steps = min(steps, self.trainer.max_steps) if self.trainer.max_steps > 0 else steps
        self.total_steps = max(1, steps)
        return self.total_steps


def trainable(module: nn.Module) -> list[nn.Parameter]:
    """The parameters that learn."""
    return [p for p in module.parameters() if p.requires_grad]
