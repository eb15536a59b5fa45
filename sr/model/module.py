"""The LightningModule of `model=cnn` and `model=gan`: everything around the loss of a training step."""

import sr.runtime.torchvision_shim  # noqa: F401  before Lightning and torchmetrics

import contextlib
import warnings
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, NotRequired, TypedDict

import torch
from annotated_types import Interval
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from sr.image.batch import Pair
from sr.image.color import rgb_to_luma
from sr.inference.layout import convert_weights
from sr.metric.key import StepMetrics
from sr.metric.protocol import Protocol
from sr.model.distributed import average_over_processes, broadcast_buffers, seed_process
from sr.model.dry_run import UNUSABLE, check_optimizer, name_part
from sr.model.ema import EMA
from sr.model.evaluation import EvaluationModule
from sr.model.gradient import (
    clip_gradient,
    get_loss_scale,
    gradient_shares,
    is_overflow,
    list_parameters,
    list_trainable,
)  # fmt: skip
from sr.model.guard import Guard
from sr.model.layout import convert_batch, prepare_net
from sr.model.objective import Objective
from sr.model.schedule_free import ScheduleFreeWeights, is_schedule_free
from sr.model.step import BadStep, Step
from sr.runtime.error import UserError
from sr.runtime.option_types import PathStr, PositiveFloat, PositiveInt

AverageDecay = Annotated[float, Interval(gt=0, lt=1)]


class SharedParts(TypedDict):
    """The arguments of `SRModule`, for the signatures of subclasses that pass them on."""

    net: nn.Module
    loss: Objective
    optimizer: Callable[..., Optimizer]
    schedule: Callable[..., LRScheduler]
    metric: Protocol
    color: str
    guard: NotRequired[Guard | None]
    ema: NotRequired[AverageDecay | None]
    clip: NotRequired[PositiveFloat | None]
    gradient_share_interval: NotRequired[PositiveInt]
    init: NotRequired[PathStr | None]
    alarm: NotRequired[Mapping[str, object] | None]


class SRModule(EvaluationModule):
    """A net with its loss, optimizer and schedule, and the protocol that it is evaluated by.

    `global_step` counts updates of the net (the generator). `best` holds the best step and its metrics.
    During training, `signals` holds the detached scalars of the last step by name (`train/loss`).

    `clip` bounds the gradient's norm. Every `gradient_share_interval` steps `signals` gets the share of each loss term in
    the gradient. `init` is the file with the weights that the net starts from (`sr.checkpoint.load.initialize_weights`).
    `alarm` holds rules for `sr.callback.alarms`.
    """

    loss_signal: ClassVar[str]  # the name in `signals` of the loss that the guard checks

    def __init__(
        self,
        net: nn.Module,
        loss: Objective,
        optimizer: Callable[..., Optimizer],
        schedule: Callable[..., LRScheduler],
        metric: Protocol,
        color: str,
        guard: Guard | None = None,
        ema: AverageDecay | None = None,
        clip: PositiveFloat | None = None,
        gradient_share_interval: PositiveInt = 100,
        init: PathStr | None = None,
        alarm: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(net, EMA(net, ema) if ema is not None and list_trainable(net) else None, metric, color)
        self.loss, self.optimizer, self.schedule = loss, optimizer, schedule
        self.guard = guard or Guard()
        self.clip, self.gradient_share_interval, self.init = clip, gradient_share_interval, init
        self.alarm = dict(alarm or {})
        self.best = StepMetrics()
        self.signals: dict[str, Tensor | float] = {}
        self.total_steps = 0
        self.step = Step()
        self._schedule_free = ScheduleFreeWeights()
        self._finished_steps = 0  # the last value of `global_step` that was acted on

    @property
    def is_between_steps(self) -> bool:
        """True if no batch of the next step was taken yet: a checkpoint written now can be resumed exactly."""
        return self.step.is_empty

    @property
    def may_become_best(self) -> bool:
        """True if this step may become the best checkpoint; False in the warm-up of a GAN."""
        return True

    # Before the training.

    def dry_run(self, pair: Pair) -> None:
        """Run all parts once; raises a `UserError` that names the part which does not fit the images or another part."""
        self.eval()
        optimizer = check_optimizer(self.optimizer, self.schedule, list_trainable(self.net))
        if is_schedule_free(optimizer) and self.ema is not None:
            self.ema = None
            warnings.warn("model.ema: not used, because a schedule-free optimizer averages the weights", stacklevel=1)
        with name_part("model: its parts do not fit these images or one another"), torch.no_grad():
            self._run_parts(*self.convert_color(Pair(pair.lr[:2], pair.hr[:2])))
        self.train()

    def _run_parts(self, lr: Tensor, hr: Tensor) -> Tensor:
        """Run the net and the loss; return the result. Subclasses add parts of their own."""
        sr = self.net(lr)
        if sr.shape != hr.shape:
            raise UserError(
                f"model/net: expected {tuple(hr.shape)} from LR {tuple(lr.shape)} (found {tuple(sr.shape)})"
            )
        with name_part(f"model.loss: {UNUSABLE}"):
            self.loss.total(self.loss(sr, hr))
        return sr

    def setup(self, stage: str) -> None:
        if stage == "fit":
            prepare_net(self.net, self.trainer.channels_last, self.trainer.compile)
            if self.ema is not None and self.trainer.channels_last:
                convert_weights(self.ema.net, torch.channels_last)

    def set_total_steps(self, accumulate: int = 1) -> int:
        """Set `total_steps` to the steps of this training, from `trainer.max_steps` or `trainer.max_epochs`.

        `accumulate` is the number of batches in a step where Lightning does not know it (manual optimization).
        """
        steps = int(self.trainer.estimated_stepping_batches)  # the smaller of both, where a batch is a step
        if accumulate > 1 and (self.trainer.max_epochs or -1) > 0:
            steps = self.trainer.num_training_batches * self.trainer.max_epochs // accumulate
            steps = min(steps, self.trainer.max_steps) if self.trainer.max_steps > 0 else steps
        self.total_steps = max(1, steps)
        return self.total_steps

    def on_train_start(self) -> None:
        if not self.global_step:
            self.metrics = {}  # those of the untrained net are no result of this run
        self._finished_steps = self.global_step
        self._trainable = list_trainable(self.net)
        seed_process(self.trainer)
        self.step.watch_buffers(self)
        self._schedule_free.start_training(self.trainer)
        self.guard.take_snapshot(self, self.global_step)

    # A training step.

    def convert_color(self, pair: Pair) -> Pair:
        """Return the pair as the net takes it: with `color=y`, luma alone."""
        return Pair(rgb_to_luma(pair.lr), rgb_to_luma(pair.hr)) if self.color == "y" else pair

    def take_batch(self, pair: Pair) -> Pair:
        """Add a batch to this step; return it in the color and memory format of the net."""
        pair = convert_batch(self.convert_color(pair), self.trainer.channels_last)
        self.step.add_batch(pair)
        return pair

    def log_loss(self, loss: Tensor) -> None:
        """Log the loss of the batch that was taken last: the mean over the batches of this step so far."""
        self.step.set_loss(loss)
        self.signals[self.loss_signal] = self.step.losses.mean()

    def log_terms(self, terms: dict[str, Tensor], weights: dict[str, float]) -> None:
        """Log the terms of a loss with several, and every `gradient_share_interval` steps their gradient shares."""
        if len(terms) < 2:
            return
        self.signals |= {f"train/loss_{name}": term.detach() for name, term in terms.items()}
        if self.gradient_share_interval and self.global_step % self.gradient_share_interval == 0:
            scale = get_loss_scale(self.trainer)  # half precision loses small gradients
            weighted = {name: scale * weights[name] * term for name, term in terms.items()}
            shares = gradient_shares(weighted, list_trainable(self.net))
            self.signals |= {f"train/share_{name}": share for name, share in shares.items()}

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        """Remove the gradients, in a quarter of the time of `optimizer.zero_grad()`."""
        for parameter in list_parameters(optimizer):
            parameter.grad = None

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Measure and clip the gradient, which is complete and unscaled here; skip the step if the guard finds it bad."""
        # Norm and clipping.
        parameters = list_parameters(optimizer)
        norm = clip_gradient(parameters, self.clip)
        is_net = parameters[0] is self._trainable[0]
        suffix = "" if self.automatic_optimization else "_g" if is_net else "_d"
        self.signals[f"train/grad_norm{suffix}"] = norm
        if self.guard.skipped:
            self.signals["train/skipped"] = self.guard.skipped  # so far

        # Decision, the same in all processes.
        values = torch.stack([norm, self.step.losses.to(norm).max()] if is_net else [norm])
        mean_norm, *losses = average_over_processes(values, self.trainer)
        loss = losses[0] if losses else None
        if not is_overflow(self.trainer, mean_norm, loss) and not self.guard.is_good_step(mean_norm, loss):
            batch = self.step.find_worst_batch() if is_net else self.step.last_batch
            self.step.bad = BadStep(mean_norm, loss, batch)
            optimizer.zero_grad()  # without gradients an optimizer changes nothing

    def on_train_batch_end(self, *_: object) -> None:
        if self.global_step != self._finished_steps:  # under gradient accumulation, several batches are one step
            self._finished_steps = self.global_step
            self._finish_step(self.global_step)
        if self.global_step >= self.total_steps:
            self.trainer.should_stop = True  # so that Lightning validates the last step, whatever the interval

    def _finish_step(self, step: int) -> None:
        bad = self.step.finish()
        self.guard.count_step(bad is not None)
        if bad is not None:
            self.guard.handle_bad_step(self, step, bad)
        if self.ema is not None:
            self.ema.update(self.net)
        self.guard.take_snapshot(self, step)

    # Validation and checkpoints.

    def on_validation_start(self) -> None:
        self._schedule_free.switch(self.trainer, training=False)
        broadcast_buffers((*self.net.buffers(), *self.eval_net.buffers()), self.trainer)

    def on_validation_end(self) -> None:
        self._schedule_free.switch(self.trainer, training=self.trainer.state.fn == TrainerFn.FITTING)

    def on_train_end(self) -> None:
        self._schedule_free.switch(self.trainer, training=False)  # the weights that are tested are those that are saved

    def use_eval_weights(self) -> contextlib.AbstractContextManager[None]:
        """Use the weights that are evaluated and saved; afterwards those that are trained are back, to the last bit."""
        return self._schedule_free.use_eval_weights(self.trainer)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["module"] = {"guard": self.guard.state_dict(), "learned": self._schedule_free.training_weights}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state = checkpoint.get("module", {})  # files of earlier versions have none
        self._schedule_free.training_weights = state.get("learned", [])
        if "guard" in state:
            self.guard.load_state_dict(state["guard"])
