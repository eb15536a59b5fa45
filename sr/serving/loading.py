"""Load the network of the service, and describe it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sr.checkpoint.interpolate import interpolate_weights
from sr.checkpoint.load import LoadedNet
from sr.prediction.api import load
from sr.pretrained.networks import find_default, find_network
from sr.track.stored_checkpoint import find_file

DEFAULT_SCALE = 2


def load_model(config: Mapping[str, Any]) -> LoadedNet:
    """Return the network that the options name. Raise `UserError` if there is none."""
    checkpoint = name_checkpoint(config)
    model = load(find_file("checkpoint", checkpoint), config["device"], config["trust"], config["scale"])
    if config["interpolate"] is None:
        return model
    other = find_file("interpolate", config["interpolate"])
    return interpolate_weights(model, other, config["alpha"], device=model.device, trust=config["trust"])


def name_checkpoint(config: Mapping[str, Any]) -> str:
    """Return the option `checkpoint`, or the name of sr's own network for `scale`."""
    return config["checkpoint"] or find_default(config["scale"] or DEFAULT_SCALE).name


def describe_service(config: Mapping[str, Any], model: LoadedNet) -> dict[str, Any]:
    """Return what GET /info answers: the network without its path, the formats and the limits."""
    checkpoint = name_checkpoint(config)
    network = find_network(checkpoint)
    return {
        "name": network.name if network else _shorten(checkpoint),
        "scale": model.scale,
        "net": type(model.net).__name__.lower(),
        "color": model.color,
        "license": config["license"] or (network.license if network else "unknown"),
        "formats": list(config["formats"]),
        "limits": {"bytes": config["max_bytes"], "pixels": config["max_pixels"], "seconds": config["timeout"]},
    }


def _shorten(checkpoint: str) -> str:
    """Return a checkpoint's name without its folders, of a run's checkpoint that of the run; an address as it is."""
    path = Path(checkpoint).expanduser()
    if not path.exists():
        return checkpoint
    return path.parent.name if path.name in ("best.ckpt", "last.ckpt") and path.parent.name else path.stem
