"""Load the network of a command: that of `checkpoint`, or sr's own for the scale, mixed with that of `interpolate`."""

from collections.abc import Mapping, Sequence
from typing import Any

from sr.checkpoint.interpolate import format_label, interpolate_weights
from sr.checkpoint.load import LoadedNet
from sr.inference.layout import merge_layers
from sr.prediction.api import load
from sr.prediction.jobs import ProbedImage
from sr.prediction.result_size import ResultSize
from sr.pretrained.networks import find_default, list_networks
from sr.runtime.error import UserError

DEFAULT_SCALE = 2


def load_network(
    config: Mapping[str, Any], result_size: ResultSize, images: Sequence[ProbedImage]
) -> tuple[LoadedNet, str]:
    """Return the network of `checkpoint` and `interpolate`, and what to add to the scale where it is named."""
    checkpoint, scale, name = config["checkpoint"], config["scale"], ""
    if checkpoint is None:
        network = find_default(scale or choose_scale(result_size, images))
        checkpoint, name = network.name, f" by {network.name}"
    model = load(checkpoint, config["device"], config["trust"], scale)
    if config["interpolate"] is not None:
        other, alpha = config["interpolate"], config["alpha"]
        model = interpolate_weights(model, other, alpha, device=model.device, trust=config["trust"])
    model = model._replace(net=merge_layers(model.net, model.device))
    return model, f"{name}{format_label({**config, 'checkpoint': checkpoint})}"


def find_trained_options(config: Mapping[str, Any], model: LoadedNet) -> dict[str, Any]:
    """Return `bands` and `range` with which a network on bands was trained, unless others are typed."""
    data = model.config.get("data", {}) if model.color == "bands" else {}
    return {key: data[key] for key in ("bands", "range") if data.get(key) is not None and config[key] is None}


def choose_scale(result_size: ResultSize, images: Sequence[ProbedImage]) -> int:
    """Return the smallest scale of sr's own networks that is enough for all results, or the largest one."""
    if not result_size.is_given:
        return DEFAULT_SCALE
    scales = sorted(network.scale for network in list_networks() if network.package is None) or [DEFAULT_SCALE]
    factors = [result_size.outscale or 1.0]
    for image in images:
        try:
            factors.append(result_size.compute_factor(image.header))
        except UserError:  # reported with the image later
            continue
    return next((scale for scale in scales if scale >= max(factors)), scales[-1])
