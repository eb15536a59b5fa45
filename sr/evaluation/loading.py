"""Load what the config of an evaluation names: a checkpoint, a net without weights, or result images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

from sr.checkpoint.interpolate import interpolate_weights
from sr.checkpoint.load import LoadedNet, load_checkpoint, rename_option
from sr.checkpoint.members import OPTION, load_members
from sr.config import schema
from sr.config.build import build_part
from sr.evaluation.predictor import ImagePredictor, NetPredictor, Predictor
from sr.metric.protocol import Protocol
from sr.runtime.error import UserError
from sr.track.run_address import is_address
from sr.track.tracker import Tracker


def load_net(cfg: DictConfig, choices: dict[str, str], tracker: Tracker, device: torch.device) -> LoadedNet | None:
    """Load the checkpoint, interpolated if the config says so; None if the config names none.

    Scale and color of the checkpoint are filled into `cfg`, and `channels`, which follow from the color.
    """
    has_net = "model/net" in choices
    if cfg.color is None and (cfg.checkpoint is None or has_net):
        cfg.color = "y" if cfg.metric.channel == "y8" else "rgb"
    if cfg.color in schema.COLORS:
        cfg.channels = schema.COLORS[cfg.color]
    if cfg.checkpoint is None:
        return None
    net = schema.to_plain(cfg)["model"]["net"] if has_net else None
    loaded = load_checkpoint(_find_file(cfg, "checkpoint", tracker), device, cfg.trust, cfg.scale, net)
    color = loaded.config["color"]
    if cfg.color not in (None, color):
        raise UserError(f"color={cfg.color}: expected color={color}, the color of checkpoint={cfg.checkpoint}")
    cfg.scale, cfg.color, cfg.channels = loaded.config["scale"], color, loaded.channels
    _require_trained_range(cfg, loaded.config.get("data", {}))
    if cfg.interpolate is not None:
        other = _find_file(cfg, "interpolate", tracker)
        loaded = interpolate_weights(loaded, other, cfg.alpha, device=device, trust=cfg.trust, net=net)
    return loaded


def _require_trained_range(cfg: DictConfig, trained: Mapping[str, Any]) -> None:
    """Fill `data.range` and `data.bands` of scenes in with those that the net was trained on; raise if others are typed."""
    for key in ("range", "bands"):
        if key not in cfg.data or cfg.data.get("_target_") != trained.get("_target_"):
            continue
        found, expected = schema.to_plain(cfg.data)[key], trained[key]
        if found is None:
            cfg.data[key] = expected
        elif list(map(float, found)) != list(map(float, expected or ())):
            raise UserError(
                f"data.{key}={found}: expected data.{key}={expected}, on which checkpoint={cfg.checkpoint} was trained"
            )


def build_predictor(
    config: dict[str, Any],
    choices: dict[str, str],
    loaded: LoadedNet | None,
    images: dict[str, list[str]],
    protocol: Protocol,
    device: torch.device,
) -> Predictor:
    """Return what gives the results: the images of `images=`, the loaded net, or a net that needs no weights.

    `images` are the names of the images of each set.
    """
    if config["images"] is not None:
        return ImagePredictor(Path(config["images"]).expanduser(), images, protocol)
    net = loaded.net if loaded else build_part(config["model"]["net"], "model.net")
    if loaded is None and any(weight.requires_grad for weight in net.parameters()):
        raise UserError(
            f"model/net={choices['model/net']}: expected weights, for this net is not trained; add checkpoint=FILE, or "
            f"train it with sr.run"
        )
    return NetPredictor(net, config["scale"], config["color"], device, config["ensemble"], config["tile"])


def load_uncertainty_nets(
    config: dict[str, Any], loaded: LoadedNet | None, predictor: NetPredictor, tracker: Tracker
) -> list[nn.Module]:
    """Return the nets whose results are compared: that of the predictor, and those that the option names."""
    if loaded is None:
        return [predictor.net]
    node = config["model"]["net"] if "net" in config.get("model", {}) else None
    others = load_members(
        config[OPTION], loaded, config["trust"], node, lambda name: _find_file({OPTION: name}, OPTION, tracker)
    )
    return [predictor.net, *others]


def _find_file(cfg: Mapping[str, Any], option: str, tracker: Tracker) -> str | Path:
    """Return the path or the network's name that an option is, or the file of an address of MLflow."""
    value = str(cfg[option])
    if not is_address(value):
        return value
    with rename_option(option, value):
        return tracker.find_checkpoint(value)
