"""Load what the config of an evaluation names: a checkpoint, a net without weights, or result images."""

from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from sr.checkpoint.interpolate import interpolate_weights
from sr.checkpoint.load import LoadedNet, load_checkpoint, rename_option
from sr.config import schema
from sr.config.build import build_part
from sr.evaluation.predictor import ImagePredictor, NetPredictor, Predictor
from sr.metric.protocol import Protocol
from sr.model.module import list_trainable
from sr.runtime.error import UserError
from sr.track.run_address import parse_run_id
from sr.track.tracker import Tracker


def load_net(cfg: DictConfig, choices: dict[str, str], tracker: Tracker, device: torch.device) -> LoadedNet | None:
    """Load the checkpoint, interpolated if the config says so; None if the config names none.

    Scale and color of the checkpoint are filled into `cfg`, and `channels`, which follow from the color.
    """
    has_net = "model/net" in choices
    if cfg.color is None and (cfg.checkpoint is None or has_net):
        cfg.color = "y" if cfg.metric.channel == "y8" else "rgb"
    cfg.channels = schema.COLORS[cfg.color] if cfg.color else None
    if cfg.checkpoint is None:
        return None
    net = schema.to_plain(cfg)["model"]["net"] if has_net else None
    loaded = load_checkpoint(_find_file(cfg, "checkpoint", tracker), device, cfg.trust, cfg.scale, net)
    color = loaded.config["color"]
    if cfg.color not in (None, color):
        raise UserError(f"color={cfg.color}: expected color={color}, the color of checkpoint={cfg.checkpoint}")
    cfg.scale, cfg.color = loaded.config["scale"], color
    if cfg.interpolate is not None:
        other = _find_file(cfg, "interpolate", tracker)
        loaded = interpolate_weights(loaded, other, cfg.alpha, device=device, trust=cfg.trust, net=net)
    return loaded


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
    if loaded is None and list_trainable(net):
        raise UserError(
            f"model/net={choices['model/net']}: expected weights, for this net is not trained; add checkpoint=FILE, or "
            f"train it with sr.run"
        )
    return NetPredictor(net, config["scale"], config["color"], device, config["ensemble"], config["tile"])


def _find_file(cfg: DictConfig, option: str, tracker: Tracker) -> str | Path:
    """Return the path or the network's name that an option is, or the file of a tracked run (`sr.track.run_address`)."""
    value = str(cfg[option])
    run_id = parse_run_id(value)
    if run_id is None:
        return value
    with rename_option(option, value):
        return tracker.find_checkpoint(run_id)
