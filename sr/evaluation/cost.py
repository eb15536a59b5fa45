"""The costs of a net that `sr.evaluate` measures only if the option `cost` asks for them."""

from typing import Any

import torch

from sr.checkpoint.architecture import build_ntire_baseline
from sr.evaluation.predictor import NetPredictor, Predictor
from sr.inference.ntire import NTIREScore, measure_ntire_score
from sr.runtime.error import UserError


def check_cost(config: dict[str, Any], predictor: Predictor) -> None:
    """Raise unless what is evaluated is a net alone, if `cost` asks for NTIRE's score."""
    if not config["cost"]:
        return
    found = None if isinstance(predictor, NetPredictor) else "images"
    found = "a self-ensemble" if config["ensemble"] else found
    if found:
        raise UserError(f"cost={config['cost']}: expected a network alone (found {found}); leave one of them out")


def measure_cost(config: dict[str, Any], predictor: Predictor, device: torch.device) -> NTIREScore | None:
    """Return NTIRE's score of the net, if `cost` asks for it and its multiply-adds can be counted."""
    if not config["cost"]:
        return None
    baseline = build_ntire_baseline(config["scale"], predictor.net.channels)
    return measure_ntire_score(predictor.net, baseline, config["color"], device)
