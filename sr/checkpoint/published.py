"""Published weight files, which do not say whose weights they are: detect the net, and translate the names of the weights."""

from pathlib import Path
from typing import Any

from torch import nn

from sr.checkpoint import architecture
from sr.config.build import build_part
from sr.net.spandrel import Spandrel
from sr.pretrained.state_dict import State, find_misfit, strip_prefix, translate_names
from sr.pretrained.weight_file import read_config
from sr.runtime.error import UserError

SPANDREL = "sr.net.spandrel.Spandrel"


def build_published_net(
    path: Path, state: State, scale: int | None, node: dict[str, Any] | None
) -> tuple[nn.Module, dict[str, Any]]:
    """Return the net of a published file, with its weights, and its config `model.net`.

    `node` is a config to be used instead of the architecture that is detected; `scale` is needed for weights that serve several.
    """
    _require_weights(path, state)
    if node is None:
        detected, state = _detect_net(state)
        if detected is None:
            return _build_with_spandrel(path, state)
        if scale is None and len(detected.scales) == 1:
            scale = detected.scales[0]
        if scale not in detected.scales:
            scales = ", ".join(map(str, detected.scales))
            given = f"scale={scale}: " if scale else ""
            choose = "" if scale else "; choose one"
            raise UserError(f"{given}checkpoint={path}: {detected.name}'s weights are for scale={scales}{choose}")
        node = detected.nodes[scale]
    net = build_part(node, "model.net")
    weights = translate_names(net, state)
    misfit = find_misfit(net, weights)
    if misfit:
        nearest = architecture.describe_nearest(state)
        raise UserError(f"checkpoint={path} does not fit model/net ({misfit}). Of all nets, {nearest}")
    net.load_state_dict(weights)
    return net, node


def translate_published_weights(net: nn.Module, path: Path, state: State) -> State:
    """Return a published file's weights under the names of the net."""
    _require_weights(path, state)
    for candidate in _strip_prefixes(state):
        weights = translate_names(net, candidate)
        if weights and not find_misfit(net, weights):
            return weights
    misfit = find_misfit(net, translate_names(net, state))
    detected, _ = _detect_net(state)
    stated = read_config(path) or {}  # of weights that sr wrote
    node = stated.get("model", {}).get("net") if isinstance(stated.get("model"), dict) else None
    if isinstance(node, dict):
        holds = f"It holds {node.get('_target_')}, scale={stated.get('scale')}{suggest_options(node)}"
    elif detected:
        holds = f"It holds model/net={detected.name}, scale={detected.scales[0]}, {detected.channels} channel(s)"
        holds += suggest_options(detected.nodes[detected.scales[0]])
    else:
        holds = architecture.describe_nearest(state)
    raise UserError(f"checkpoint={path} does not fit model/net ({misfit}). {holds}")


def suggest_options(node: dict[str, Any]) -> str:
    """Return what to type for a net with the options of this config `model.net`; empty if it has none of its own."""
    options = [
        f"model.net.{key}={value}" for key, value in node.items() if key not in ("_target_", "scale", "channels")
    ]
    return f"; for this net type {' '.join(options)}" if options else ""


def _build_with_spandrel(path: Path, state: State) -> tuple[nn.Module, dict[str, Any]]:
    """Build a net that sr does not have, if the package spandrel is installed and has it."""
    try:
        net = Spandrel.from_state_dict(state)
    except UserError as error:
        nearest = architecture.describe_nearest(state)
        raise UserError(f"checkpoint={path} fits none of our nets ({nearest}). {error}") from None
    return net, {"_target_": SPANDREL, "file": str(path), "scale": net.scale}


def _detect_net(state: State) -> tuple[architecture.DetectedNet | None, State]:
    """Return the architecture of the weights, and the weights under its names."""
    for candidate in _strip_prefixes(state):
        detected = architecture.detect_net(candidate) if candidate else None
        if detected is not None:
            return detected, candidate
    return None, state


def _strip_prefixes(state: State) -> tuple[State, State, State]:
    """Return the weights as they are, and without the one or two words that a module puts before all names."""
    return state, strip_prefix(state), strip_prefix(state, 2)


def _require_weights(path: Path, state: State) -> None:
    if not state:
        raise UserError(f"checkpoint={path}: there are no weights in it")
