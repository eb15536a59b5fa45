"""The one door from config to objects."""

import sr.runtime.torchvision_shim  # noqa: F401  before Lightning and torchmetrics

from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer
from pytorch_lightning.loggers import Logger

from sr.runtime.error import UserError


def build_part(node: dict[str, Any], key: str, **given: Any) -> Any:
    """The object that `node` describes, with everything below it; `key` is its place in the config."""
    if not isinstance(node, dict) or "_target_" not in node:
        raise UserError(f"{key}={node}: a part is chosen with a slash, as in {key.replace('.', '/')}={node}")
    try:
        return instantiate(node, _convert_="all", **given)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, UserError):
            raise cause from None
        where = str(error).partition("full_key: ")[2].strip()
        reason = cause if cause is not None else str(error).splitlines()[0]
        raise UserError(f"{'.'.join(filter(None, (key, where)))}: {reason}") from error


def build_data(config: dict[str, Any]) -> LightningDataModule:
    """`data=…`."""
    return build_part(config["data"], "data")


def build_model(config: dict[str, Any]) -> LightningModule:
    """`model=…` with its net, losses and optimizers."""
    node = dict(config["model"])
    if "loss" in node:
        node["loss"] = _objective(node["loss"])
    return build_part(node, "model")


def _objective(terms: dict[str, Any]) -> dict[str, Any]:
    """`model/loss=[l1,fft]` as the node of a sum. A term's `weight` stands beside its own dials, but is the sum's."""
    if not isinstance(terms, dict) or not terms:
        raise UserError(f"model.loss={terms}: a loss is chosen with a slash: model/loss=l1, model/loss=[l1,fft]")
    terms = {"loss": terms} if "_target_" in terms else terms
    for name, term in terms.items():
        weight = term.get("weight", 1.0) if isinstance(term, dict) else None
        if not isinstance(weight, int | float) or "_target_" not in term:
            raise UserError(f"model.loss.{name}={term}: expected a loss and its weight: model/loss=[…,{name}]")
    without = {name: {k: v for k, v in term.items() if k != "weight"} for name, term in terms.items()}
    weights = {name: float(term.get("weight", 1.0)) for name, term in terms.items()}
    return {"_target_": "sr.model.objective.Objective", "terms": without, "weights": weights}


def build_trainer(config: dict[str, Any], callbacks: list[Callback], logger: Logger, manual: bool) -> Trainer:
    """`trainer=…`. Its steps are the generator's; clipping is the model's, and with `manual` optimization accumulation."""
    node = dict(config["trainer"])
    if node["accelerator"] == "auto" and torch.backends.mps.is_available():
        node["accelerator"] = "cpu"  # protocols are measured in float64, which Apple's GPUs do not have
    node["val_check_interval"] *= node["accumulate_grad_batches"] * config["model"].get("d_steps", 1)  # in batches
    if node["precision"] == "16-mixed" and not torch.cuda.is_available():
        raise UserError("trainer.precision=16-mixed needs an NVIDIA or AMD GPU; on this machine use bf16-mixed")
    node["gradient_clip_val"] = None
    if manual:
        node["accumulate_grad_batches"] = 1
    if node["strategy"] == "ddp":  # of a GAN's two players only one gets a gradient at a time
        node["strategy"] = "ddp_find_unused_parameters_true" if manual else "ddp"
    return build_part(
        node,
        "trainer",
        callbacks=callbacks,
        logger=logger,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=-1,  # the untrained net is measured as well: curves begin at step 0
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        log_every_n_steps=1,  # of the few things logged through Lightning; our own record keeps every step
    )


def select_device(name: str, measuring: bool = False) -> torch.device:
    """`device=…`: auto takes what is there; for `measuring` not Apple's GPUs, which lack the protocols' float64."""
    if name == "auto":
        found = torch.accelerator.current_accelerator(check_available=True)
        return torch.device("cpu") if found is None or (measuring and found.type == "mps") else found
    try:
        torch.empty(0, device=name)
        return torch.device(name)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device={name}: cannot be used ({str(error).splitlines()[0]})") from None
