"""Build the objects that a config describes; the only place that calls Hydra's `instantiate`."""

from typing import TYPE_CHECKING, Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from sr.runtime.error import UserError
from sr.runtime.precision import has_fast_bf16
from sr.runtime.terminal import print_note

if TYPE_CHECKING:  # seconds to import, and prediction needs none of it
    from pytorch_lightning import Callback, LightningModule, Trainer
    from pytorch_lightning.loggers import Logger


def build_part(node: dict[str, Any], key: str, **arguments: Any) -> Any:
    """Build the object that `node` describes, with everything below it; `key` is its place in the config.

    `arguments` are further arguments, which are no options. Every error is a `UserError` that names the option.
    """
    if not isinstance(node, dict) or "_target_" not in node:
        raise UserError(f"{key}={node}: a part is chosen with a slash: {key.replace('.', '/')}={node}")
    try:
        return instantiate(node, _convert_="all", **arguments)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, UserError):
            raise cause from None
        key_below = str(error).partition("full_key: ")[2].strip()
        reason = cause if cause is not None else str(error).splitlines()[0]
        raise UserError(f"{'.'.join(filter(None, (key, key_below)))}: {reason}") from error


def build_data(config: dict[str, Any]) -> Any:
    """Build the data module, `data=…`."""
    return build_part(config["data"], "data")


def build_model(config: dict[str, Any]) -> "LightningModule":
    """Build the model, `model=…`, with its net, losses and optimizers."""
    node = dict(config["model"])
    if "loss" in node:
        node["loss"] = _make_objective(node["loss"])
    for name in node.keys() & {"optimizer", "discriminator_optimizer"}:
        node[name] = _choose_kernel(node[name], config["trainer"]["precision"])
    return build_part(node, "model")


def _choose_kernel(optimizer: dict[str, Any], precision: str) -> dict[str, Any]:
    """Return the node of an optimizer with `fused` chosen, if it has this option and leaves it open.

    On a CPU the fused kernel saves up to a hundredth of a training step. PyTorch does not choose it by itself.
    """
    if not isinstance(optimizer, dict) or optimizer.get("fused", False) is not None:
        return optimizer
    return optimizer | {"fused": precision != "16-mixed"}  # there it would hide the unscaled gradient


def _make_objective(terms: dict[str, Any]) -> dict[str, Any]:
    """Return the node of the weighted sum of losses, `model/loss=[l1,fft]`.

    Each loss has its `weight` among its own options, but it is the sum that takes it.
    """
    if not isinstance(terms, dict) or not terms:
        raise UserError(f"model.loss={terms}: a loss is chosen with a slash: model/loss=l1, model/loss=[l1,fft]")
    terms = {"loss": terms} if "_target_" in terms else terms
    for name, term in terms.items():
        weight = term.get("weight", 1.0) if isinstance(term, dict) else None
        if not isinstance(weight, int | float) or "_target_" not in term:
            raise UserError(f"model.loss.{name}={term}: expected a loss and its weight: model/loss=[…,{name}]")
    losses = {name: {k: v for k, v in term.items() if k != "weight"} for name, term in terms.items()}
    weights = {name: float(term.get("weight", 1.0)) for name, term in terms.items()}
    return {"_target_": "sr.model.objective.Objective", "terms": losses, "weights": weights}


def check_accelerator(name: str) -> None:
    """Raise if `trainer.accelerator` is a GPU that this machine does not have, or PyTorch cannot use."""
    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not found.get(name, name != "gpu" or any(found.values())):
        kind = "built for the CPU alone" if torch.version.cuda is None else f"built for CUDA {torch.version.cuda}"
        raise UserError(
            f"trainer.accelerator={name}: expected a GPU (found none; this PyTorch, {torch.__version__}, is {kind}); "
            f"type trainer.accelerator=cpu, or leave it out"
        )


def warn_of_slow_precision(trainer: dict[str, Any]) -> None:
    """Print a note if the options of the trainer choose bf16 on a CPU that has no instructions for it."""
    is_on_cpu = trainer["accelerator"] == "cpu" or not torch.cuda.is_available()
    if trainer["precision"] == "bf16-mixed" and is_on_cpu and not has_fast_bf16(torch.device("cpu")):
        print_note(
            "trainer.precision=bf16-mixed: this CPU has no instructions for bf16, and computes it about 20 times as slowly as "
            "float32; trainer.precision=32-true"
        )


def build_trainer(config: dict[str, Any], callbacks: "list[Callback]", logger: "Logger", manual: bool) -> "Trainer":
    """Build the trainer, `trainer=…`. `manual`: the model optimizes manually, as a GAN does.

    Steps count updates of the net (of a GAN, the generator). Gradient clipping is done by the model, and with `manual`
    optimization so is accumulation, so that Lightning does neither.
    """
    node = dict(config["trainer"])
    if node["accelerator"] == "auto" and torch.backends.mps.is_available():
        node["accelerator"] = "cpu"  # metrics need float64, which Apple's GPUs do not have
    node["val_check_interval"] *= node["accumulate_grad_batches"] * config["model"].get("d_steps", 1)  # in batches
    if node["precision"] == "16-mixed" and not torch.cuda.is_available():
        raise UserError("trainer.precision=16-mixed needs an NVIDIA or AMD GPU; on this machine use bf16-mixed")
    node["gradient_clip_val"] = None
    if manual:
        node["accumulate_grad_batches"] = 1
    if node["strategy"] == "ddp":  # in a GAN only one of G and D gets a gradient at a time
        node["strategy"] = "ddp_find_unused_parameters_true" if manual else "ddp"
    return build_part(
        node,
        "trainer",
        callbacks=callbacks,
        logger=logger,
        default_root_dir=config["paths"]["runs"],  # under SLURM Lightning would load a hpc_ckpt_1.ckpt of this folder
        check_val_every_n_epoch=None,
        num_sanity_val_steps=-1,  # the untrained net is evaluated, too: curves start at step 0
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        log_every_n_steps=1,  # for the few values logged through Lightning; `track` logs every step
    )


def select_device(name: str | torch.device, needs_float64: bool = False) -> torch.device:
    """Return the device `device=NAME`, after a trial.

    `auto` is the accelerator of this machine, or the CPU; with `needs_float64`, for metrics, never an Apple GPU.
    """
    if name == "auto":
        device = torch.accelerator.current_accelerator(check_available=True)
        return torch.device("cpu") if device is None or (needs_float64 and device.type == "mps") else device
    try:
        torch.empty(0, device=name)
        device = torch.device(name)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device={name}: cannot be used ({str(error).splitlines()[0]})") from None
    if device.type == "meta":
        raise UserError("device=meta: expected a device that computes, such as cpu or cuda (found one without data)")
    return device
