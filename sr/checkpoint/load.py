"""Load a net from a checkpoint of sr (`best.ckpt`, `last.ckpt` …), or from a published weight file.

A checkpoint is one of Lightning that also holds the config, so that `load_checkpoint(path)` needs nothing else. Files are
read with `weights_only=True`, and a file may only name nets of sr.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

from sr.checkpoint import architecture
from sr.checkpoint.initialization import SkipInitialization
from sr.checkpoint.published import SPANDREL, build_published_net, suggest_options, translate_published_weights
from sr.config import schema
from sr.config.allowlist import NET_PARTS, check_targets
from sr.config.build import build_part
from sr.config.renamed import update_config
from sr.data.leak import Leak
from sr.net.onnx import OnnxNet
from sr.net.spandrel import Spandrel
from sr.pretrained.networks import resolve_checkpoint
from sr.pretrained.state_dict import State, find_misfit, read_weights, unwrap_state_dict
from sr.pretrained.weight_file import compute_weights_sha256, read_config
from sr.record.checkpoint_files import BEST
from sr.runtime.error import UserError

if TYPE_CHECKING:  # imports Lightning
    from sr.model.module import SRModule

WINDOWED = (
    "sr.net.hat.",
    "sr.net.swinir.",
)  # nets whose constructors compute with numbers, which meta tensors do not have
KEY = "sr"  # of the entry of sr in Lightning's checkpoint
EMA_PREFIX, NET_PREFIX = "ema.net.", "net."  # of the names of weights in the state dict of `SRModule`


class LoadedNet(NamedTuple):
    """A net in eval mode, with what its file says about it."""

    net: nn.Module
    config: dict[str, Any]  # of the run that trained it; of a published file: scale, color, model.net
    metrics: dict[str, float]
    step: int
    leaks: tuple[Leak, ...] = ()  # training images that are in evaluation sets, as far as known
    sha256: str = ""  # of the file, 64 digits

    @property
    def scale(self) -> int:
        """The factor by which the net upscales."""
        return self.config["scale"]

    @property
    def color(self) -> str:
        """The channels that the net is applied to: rgb, y (luma; chroma is upscaled bicubically), gray, or all bands."""
        return self.config["color"]

    @property
    def channels(self) -> int:
        """The number of channels of the net: 3 or 1, or the number of bands."""
        return schema.COLORS.get(self.color) or self.config["channels"]

    @property
    def device(self) -> torch.device:
        """The device of the weights; the CPU for a net without weights."""
        return next((weight.device for weight in self.net.parameters()), torch.device("cpu"))


def load_checkpoint(
    path: str | Path,
    device: str | torch.device = "cpu",
    trust: Sequence[str] = (),
    scale: int | None = None,
    net: dict[str, Any] | None = None,
) -> LoadedNet:
    """Return the net of a network's name, a checkpoint, a run's folder or a published weight file, in eval mode.

    `trust` adds module prefixes whose classes a checkpoint may name. The architecture of a published file is detected if
    the file does not state it; `net` is a config to be used instead, and `scale` is needed if the weights are for several
    scales.
    """
    typed, file = _find_file(path)
    with rename_option("checkpoint", typed, file):
        loaded = _load_file(file, trust, scale, net)
    return loaded._replace(net=loaded.net.to(device).eval(), sha256=compute_weights_sha256(file))


def _load_file(path: Path, trust: Sequence[str], scale: int | None, net: dict[str, Any] | None) -> LoadedNet:
    if path.suffix == ".onnx":
        return _load_onnx(path, scale)
    content = read_weights(path)
    config = read_config(path) if net is None else None
    if config is not None:
        loaded = _load_described(path, content, config, trust)
    elif KEY not in content:
        loaded = _load_published(path, unwrap_state_dict(content), scale, net)
    elif net is not None:
        raise UserError(f"checkpoint={path} has a net of its own; leave model/net out")
    else:
        try:
            loaded = _load_own(path, content, trust)
        except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:  # of this name, but not of sr
            raise UserError(f"checkpoint={path}: not written by sr, or damaged ({error!r})") from None
    _require_scale(path, loaded.scale, scale)
    return loaded


def _require_scale(path: Path, found: int, expected: int | None) -> None:
    if expected not in (None, found):
        raise UserError(f"scale={expected}: checkpoint={path} is for scale={found}")


def _load_onnx(path: Path, scale: int | None) -> LoadedNet:
    """Load a graph: it takes and returns images, so that the color of its net is its own affair."""
    net = OnnxNet(path)
    _require_scale(path, net.scale, scale)
    node = {"_target_": "sr.net.onnx.OnnxNet", "file": str(path)}
    color = {3: "rgb", 1: "gray"}.get(net.channels, "bands")
    return LoadedNet(net, {"scale": net.scale, "color": color, "channels": net.channels, "model": {"net": node}}, {}, 0)


def restore_weights(net: nn.Module, path: Path, content: dict[str, Any] | None = None) -> None:
    """Put the weights of a checkpoint into a net that is there already."""
    content = content or read_weights(path)
    state = _select_net_weights(content["state_dict"])
    _require_fit(net, path, state)
    net.load_state_dict(state)


def initialize_weights(module: "SRModule", path: str | Path, typed: str | None = None) -> None:
    """Give a module's net, and its average, the weights of a network's name, a checkpoint, a run or a published file.

    `typed` is what errors call it, if that is not the path.
    """
    found, file = _find_file(path, "model.init")
    typed = found if typed is None or typed == path else typed
    with rename_option("model.init", typed, file):
        content = read_weights(file)
        if KEY in content:
            state = _read_fitting_weights(module, file, content)
        else:
            state = translate_published_weights(module.net, file, unwrap_state_dict(content))
    for net in {module.net, module.eval_net}:
        net.load_state_dict(state)


@contextlib.contextmanager
def rename_option(option: str, path: str | Path, file: Path | None = None) -> Iterator[None]:
    """Let errors about a file name the option that it was given by, instead of `checkpoint`, and what was typed: `path`."""
    try:
        yield
    except UserError as error:
        raise UserError(str(error).replace(f"checkpoint={file or path}", f"{option}={path}", 1)) from None


def _find_file(path: str | Path, option: str = "checkpoint") -> tuple[str | Path, Path]:
    """Return how errors call a weight file, and its path; `path` may be a network's name or a run's folder as well."""
    file = resolve_checkpoint(path, option)
    return (file / BEST, file / BEST) if file.is_dir() else (path, file)


def _load_described(path: Path, state: State, config: dict[str, Any], trust: Sequence[str]) -> LoadedNet:
    """Load bare weights whose file states their net."""
    try:
        node = config["model"]["net"]
        check_targets(node, trust, f"checkpoint={path}", "model.net", NET_PARTS)
        net = _build_net(node, path, state)
        _require_fit(net, path, state)
        net.load_state_dict(state)
        _require_stated_scale(path, config, net)
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise UserError(f"checkpoint={path}: the net that it states is damaged ({error!r})") from None
    return LoadedNet(net, config | {"channels": net.channels}, {}, 0)


def _load_own(path: Path, content: dict[str, Any], trust: Sequence[str]) -> LoadedNet:
    entry = content[KEY]
    config = update_config(entry["config"])
    node = config["model"]["net"]
    check_targets(node, trust, f"checkpoint={path}", "model.net", NET_PARTS)
    if node["_target_"] == SPANDREL:  # its weight file need not exist any more
        state = _select_net_weights(content["state_dict"])
        net = Spandrel.from_state_dict({name.removeprefix("model."): value for name, value in state.items()})
    else:
        net = _build_net(node, path, _select_net_weights(content["state_dict"]))
    restore_weights(net, path, content)
    _require_stated_scale(path, config, net)
    leaks = tuple(Leak(*leak) for leak in entry.get("leaks", ()))
    return LoadedNet(net, config, entry["metrics"], content["global_step"], leaks)


def _require_stated_scale(path: Path, config: dict[str, Any], net: nn.Module) -> None:
    """Raise unless the net is of the scale and color that the file states."""
    if config["scale"] != net.scale or schema.COLORS.get(config["color"], config.get("channels")) != net.channels:
        found = (
            f"scale={config['scale']} and color={config['color']} with a net of ×{net.scale}, {net.channels} channels"
        )
        raise UserError(f"checkpoint={path}: not written by sr, or changed since ({found})")


def _build_net(node: dict[str, Any], path: Path, state: State) -> nn.Module:
    """Build the net of a checkpoint, if its weights fit: the file may describe a net that needs far more memory."""
    if node["_target_"].startswith(NET_PARTS):  # a net of the user's own may not work on the meta device
        device = "cpu" if node["_target_"].startswith(WINDOWED) else "meta"
        with architecture.limit_parts(len(state)), torch.device(device), SkipInitialization():
            _require_fit(build_part(node, "model.net"), path, state)
        with SkipInitialization():
            return build_part(node, "model.net")
    return build_part(node, "model.net")


def _require_fit(net: nn.Module, path: Path, state: State) -> None:
    misfit = find_misfit(net, state)
    if misfit:
        raise UserError(f"checkpoint={path}: its weights do not fit its net ({misfit})")


def _load_published(path: Path, state: State, scale: int | None, node: dict[str, Any] | None) -> LoadedNet:
    net, node = build_published_net(path, state, scale, node)
    color = "y" if net.channels == 1 else "rgb"
    return LoadedNet(net, {"scale": net.scale, "color": color, "channels": net.channels, "model": {"net": node}}, {}, 0)


def _read_fitting_weights(module: "SRModule", path: Path, content: dict[str, Any]) -> State:
    """Return the weights of a checkpoint, which must be of the module's scale and color, and fit its net."""
    try:
        config = update_config(content[KEY]["config"])
        node = config["model"]["net"]
        state = _select_net_weights(content["state_dict"])
        values = {key: config[key] for key in ("scale", "color")}
        options = ", ".join(f"{key}={value}" for key, value in node.items() if key != "_target_")
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"checkpoint={path}: not written by sr, or damaged ({error!r})") from None
    for key, expected in (("scale", module.net.scale), ("color", module.color)):
        if values[key] != expected:
            raise UserError(f"checkpoint={path} is of {key}={values[key]}, but this model is of {key}={expected}")
    misfit = find_misfit(module.net, state)
    if misfit:
        holds = f"It holds {node['_target_']} with {options}{suggest_options(node)}"
        raise UserError(f"checkpoint={path} does not fit model/net ({misfit}). {holds}")
    return state


def _select_net_weights(state: dict[str, Any]) -> State:
    """Return the net's weights out of a module's: the averaged ones, if there are any."""
    prefix = EMA_PREFIX if any(name.startswith(EMA_PREFIX) for name in state) else NET_PREFIX
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
