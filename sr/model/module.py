"""What CNN and GAN have in common: the engine around each step."""

import sr.runtime.torchvision_shim  # noqa: F401  before Lightning and torchmetrics

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from sr.image.batch import Pair
from sr.image.color import rgb_to_luma
from sr.metric.key import StepMetrics
from sr.metric.protocol import Protocol
from sr.model.ema import EMA
from sr.model.guard import Bad, Guard
from sr.model.measured import EvaluationModule
from sr.model.objective import Objective, gradient_shares
from sr.runtime.error import UserError

UNUSABLE = "cannot work with its dials as they are set"


class SRModule(EvaluationModule):
    """A net, how it learns, and the protocol it is measured by.

    One clock: `global_step` counts updates of the net (the generator). `best` holds the best step and its metrics.
    During training, `signals` holds the last step's detached scalars by name. `clip` bounds the gradient's norm.
    Every `share_every` steps `signals` tells how much of the gradient each term of the loss has. `init` names the file whose
    weights the net begins with (`sr.checkpoint.load.begin`).
    """

    loss: Objective
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
        init: str | None = None,
        alarm: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(net, EMA(net, ema) if ema is not None and list_trainable(net) else None, metric, color)
        self.guard = guard or Guard()
        self.clip, self.share_every, self.init = clip, share_every, init
        self.alarm = dict(alarm or {})
        self.optimizer, self.schedule = optimizer, schedule
        self.best = StepMetrics()
        self.signals: dict[str, Tensor | float] = {}
        self.total_steps = 0
        self._followed = 0  # steps of the clock
        self._fed: list[tuple[Pair, Tensor | None]] = []  # the batches of this step, and their losses
        self._clean: list[tuple[Tensor, Tensor]] = []  # all buffers, and what was in them before this step
        self._bad: Bad | None = None  # why this step was skipped
        self._learned: list[
            list[Tensor]
        ] = []  # of schedule-free optimizers, the weights that they learn with, for a file

    def visible(self, pair: Pair) -> Pair:
        """The pair as the net sees it in training: with `color=y`, luma alone."""
        return Pair(rgb_to_luma(pair.lr), rgb_to_luma(pair.hr)) if self.color == "y" else pair

    def shown(self, pair: Pair) -> Pair:
        """This step's batch, as the net sees it, and as the device likes it."""
        pair = self.visible(pair)
        if self.trainer.channels_last:
            pair = Pair(*(image.to(memory_format=torch.channels_last) for image in pair))
        if not self._fed:  # a bad batch spoils the statistics of a batch norm in its forward pass already
            self._clean = [(buffer, buffer.clone()) for buffer in self._buffers_now]
        self._fed.append((pair, None))
        return pair

    def tell_loss(self, loss: Tensor) -> None:
        """The loss of the batch that was shown; under accumulation, `signals` gets the mean over the step's batches."""
        self._fed[-1] = (self._fed[-1][0], loss.detach())
        self.signals[self.JUDGED] = torch.stack([told for _, told in self._told]).mean()

    @property
    def _told(self) -> list[tuple[Pair, Tensor]]:
        """The batches of this step that have a loss: from others, D alone learned."""
        return [(pair, told) for pair, told in self._fed if told is not None]

    @property
    def is_between_steps(self) -> bool:
        """Whether a step is done and no batch of the next one was taken: what is kept then can be resumed exactly."""
        return not self._fed

    @property
    def may_become_best(self) -> bool:
        """Whether the weights of this step may become the best: not before the training proper has begun."""
        return True

    def dry_run(self, pair: Pair) -> None:
        """One pass before there is a run that could fail: parts that do not fit one another are told of at once."""
        self.eval()
        with _blamed(f"model.optimizer: {UNUSABLE}"):
            optimizer = self.optimizer(list_trainable(self.net))
        with _blamed(f"model.schedule: {UNUSABLE}"), warnings.catch_warnings(action="ignore"):  # they come in earnest
            self.schedule(optimizer, total=1000)
        if hasattr(optimizer, "eval") and self.ema is not None:
            self.ema = None
            warnings.warn(
                "model.ema: a schedule-free optimizer averages by itself, so no average is kept", stacklevel=1
            )
        with _blamed("model: its parts do not fit these images or one another"), torch.no_grad():
            self._dry_run(*self.visible(Pair(pair.lr[:2], pair.hr[:2])))
        self.train()

    def _dry_run(self, lr: Tensor, hr: Tensor) -> Tensor:
        sr = self.net(lr)
        if sr.shape != hr.shape:
            raise UserError(f"model/net: from {tuple(lr.shape)} came {tuple(sr.shape)}, expected {tuple(hr.shape)}")
        with _blamed(f"model.loss: {UNUSABLE}"):
            self.loss.total(self.loss(sr, hr))
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
        if not self.global_step:
            self.metrics = {}  # of the untrained net, which are not this run's result
        self._followed = self.global_step
        if self.global_rank:  # all began alike; noise, and places between pictures, are each process's own
            torch.manual_seed(torch.initial_seed() + self.global_rank)
        # walking through all modules takes its time, each step
        self._buffers_now, self._learning = list(self.buffers()), list_trainable(self.net)
        self.settle(training=True)
        _put(self._averaging(), self._learned)
        self._learned = []
        self.guard.keep(self, self.global_step)

    def on_train_end(self) -> None:
        self.settle(training=False)  # what is tested is what is kept

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["module"] = {"guard": self.guard.state_dict(), "learned": self._learned}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        kept = checkpoint.get("module", {})  # files of earlier versions have none
        self._learned = kept.get("learned", [])
        if "guard" in kept:
            self.guard.load_state_dict(kept["guard"])

    @contextlib.contextmanager
    def use_eval_weights(self) -> Iterator[None]:
        """The weights that are measured and kept; afterwards those to learn with are back, to the last bit: what is
        written in between steps must not be seen in the result."""
        learning = [optimizer for optimizer in self._averaging() if optimizer.param_groups[0]["train_mode"]]
        self._learned = [[weight.detach().clone() for weight in _weights(optimizer)] for optimizer in learning]
        self.settle(training=False)
        try:
            yield
        finally:
            if learning:
                self.settle(training=True)
                _put(learning, self._learned)
            self._learned = []

    def _averaging(self) -> list[Optimizer]:
        """The schedule-free ones: turning one's weights and turning them back is exact but for the last bits."""
        return [optimizer for optimizer in self.trainer.optimizers if hasattr(optimizer, "train")]

    def settle(self, training: bool) -> None:
        """A schedule-free optimizer holds two sets of weights: one to learn with, one to measure and keep."""
        for optimizer in self._averaging():
            optimizer.train() if training else optimizer.eval()

    def tell_terms(self, terms: dict[str, Tensor], weights: dict[str, float]) -> None:
        """Where a loss has several terms, `signals` gets each of them, and now and then its share of the gradient."""
        if len(terms) > 1:
            self.signals |= {f"train/loss_{name}": term.detach() for name, term in terms.items()}
            if self.share_every and self.global_step % self.share_every == 0:
                large = self._scaler.get_scale() if self._scaler else 1.0  # half precision loses small gradients
                pulls = {name: large * weights[name] * term for name, term in terms.items()}
                pulls = gradient_shares(pulls, list_trainable(self.net))
                self.signals |= {f"train/share_{name}": share for name, share in pulls.items()}

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """The gradient is complete and unscaled: measure and clip it; a step that would spoil the weights is left out."""
        weights = _weights(optimizer)
        norm = get_total_norm([p.grad for p in weights if p.grad is not None])
        if self.clip:
            clip_grads_with_norm_(weights, self.clip, norm)
        ours = weights[0] is self._learning[0]
        player = "" if self.automatic_optimization else "_g" if ours else "_d"
        self.signals[f"train/grad_norm{player}"] = norm
        if self.guard.skipped:
            self.signals["train/skipped"] = self.guard.skipped  # so far
        losses = torch.stack([told for _, told in self._told]).to(norm) if ours else None
        known = torch.stack([norm, losses.max()] if ours else [norm])
        if self.trainer.world_size > 1:
            known = self.trainer.strategy.reduce(known, reduce_op="mean")  # all processes must decide alike
        self._judge_step(optimizer, losses, *known.tolist())

    def _judge_step(self, optimizer: Optimizer, losses: Tensor | None, norm: float, loss: float | None = None) -> None:
        overflow = self._scaler is not None and self._scaler.get_scale() > 1 and not math.isfinite(norm)
        if overflow and math.isfinite(loss or 0):
            return  # of half precision: the scaler leaves the step out and lowers its scale
        if not self.guard.good(norm, loss):
            worst = self._fed[-1] if losses is None else self._told[int(losses.argmax())]
            self._bad = Bad(norm, loss, worst[0])
            optimizer.zero_grad()  # without gradients an optimizer does nothing

    @property
    def _scaler(self) -> torch.amp.GradScaler | None:
        return getattr(self.trainer.precision_plugin, "scaler", None)

    def on_train_batch_end(self, *_: object) -> None:
        if self.global_step != self._followed:  # under accumulation, several batches are one step
            self._followed = self.global_step
            self._follow_up(self.global_step)
        if self.global_step >= self.total_steps:
            self.trainer.should_stop = True  # so that Lightning validates the last step, whatever the interval

    def _follow_up(self, step: int) -> None:
        bad, self._bad = self._bad, None
        self._fed.clear()
        self.guard.count(bad is not None)
        if bad is not None:
            for buffer, clean in self._clean:
                buffer.copy_(clean)
            self.guard.answer(self, step, bad)
        if self.ema is not None:
            self.ema.update(self.net)
        self.guard.keep(self, step)

    def on_validation_start(self) -> None:
        self.settle(training=False)
        if self.trainer.world_size > 1:  # statistics of a batch norm differ, and the first process's are kept
            for buffer in (*self.net.buffers(), *self.eval_net.buffers()):
                torch.distributed.broadcast(buffer, 0)

    def on_validation_end(self) -> None:
        self.settle(training=self.trainer.state.fn == TrainerFn.FITTING)

    def budget(self, accumulate: int = 1) -> int:
        """Steps of the generator in this training, from `trainer.max_steps` or `trainer.max_epochs`."""
        steps = int(self.trainer.estimated_stepping_batches)  # the smaller of both, where a batch is a step
        if accumulate > 1 and (self.trainer.max_epochs or -1) > 0:
            steps = self.trainer.num_training_batches * self.trainer.max_epochs // accumulate
            steps = min(steps, self.trainer.max_steps) if self.trainer.max_steps > 0 else steps
        self.total_steps = max(1, steps)
        return self.total_steps


@contextlib.contextmanager
def _blamed(what: str) -> Iterator[None]:
    """What goes wrong inside becomes a `UserError` that begins with `what`."""
    try:
        yield
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise UserError(f"{what} ({error})") from error


def list_trainable(module: nn.Module) -> list[nn.Parameter]:
    """The parameters that learn."""
    return [p for p in module.parameters() if p.requires_grad]


def _weights(optimizer: Optimizer) -> list[nn.Parameter]:
    return [weight for group in optimizer.param_groups for weight in group["params"]]


@torch.no_grad()
def _put(optimizers: list[Optimizer], learned: list[list[Tensor]]) -> None:
    """Give the optimizers' weights these values; there are none for those that average nothing."""
    for optimizer, values in zip(optimizers, learned, strict=False):
        for weight, value in zip(_weights(optimizer), values, strict=True):
            weight.copy_(value)
