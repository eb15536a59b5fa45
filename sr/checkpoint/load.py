"""Weights and config in one file: `best.ckpt`, `last.ckpt` …, Lightning checkpoints that also carry the config.

`load(path)` needs nothing else, and takes published weight files too. Files are read with `weights_only=True`, and a
file may only name our own nets.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from sr.checkpoint import architecture
from sr.config import schema
from sr.config.allowlist import check_targets
from sr.config.build import build_part
from sr.config.renamed import update_config
from sr.data.known_leaks import Leak
from sr.model.module import SRModule
from sr.net.spandrel import Spandrel
from sr.pretrained.state_dict import State, find_misfit, read_weights, strip_prefix, translate_names, unwrap_state_dict
from sr.record.checkpoint_files import BEST
from sr.runtime.error import UserError

SPANDREL = "sr.net.spandrel.Spandrel"
KEY = "sr"  # our entry in Lightning's checkpoint


class LoadedNet(NamedTuple):
    """A net in eval mode, with what its file says about it."""

    net: nn.Module
    config: dict[str, Any]  # of the run that trained it; of a published file: scale, color, model.net
    metrics: dict[str, float]
    step: int
    leaks: tuple[Leak, ...] = ()  # of its training, where they are known

    @property
    def scale(self) -> int:
        """The factor by which the net upscales."""
        return self.config["scale"]

    @property
    def color(self) -> str:
        """What the net is applied to: rgb, y (luma; chroma is upscaled bicubically) or gray."""
        return self.config["color"]

    @property
    def channels(self) -> int:
        """The number of channels of the net: 3 or 1."""
        return schema.COLORS[self.color]

    @property
    def device(self) -> torch.device:
        """The device of the weights; the CPU for a net without weights."""
        return next((weight.device for weight in self.net.parameters()), torch.device("cpu"))


def load_checkpoint(
    path: Path,
    device: str | torch.device = "cpu",
    trust: Sequence[str] = (),
    scale: int | None = None,
    net: dict[str, Any] | None = None,
) -> LoadedNet:
    """The net of a checkpoint of ours, or of a published weight file, in eval mode.

    `trust` adds module prefixes whose classes a checkpoint may name. A published file finds its net by itself; `net`
    is a config to be used instead, and `scale` is needed where the weights serve several.
    """
    if path.is_dir():  # a run's
        path = path / BEST
    content = read_weights(path)
    if KEY not in content:
        loaded = _published(path, unwrap_state_dict(content), scale, net)
    elif net is not None:
        raise UserError(f"checkpoint={path} brings its own net: leave model/net out")
    else:
        try:
            loaded = _ours(path, content, trust)
        except (KeyError, TypeError, AttributeError, RecursionError) as error:  # somebody else's entry of this name
            raise UserError(f"checkpoint={path}: not written by sr, or damaged ({error!r})") from None
    if scale is not None and scale != loaded.config["scale"]:
        raise UserError(f"scale={scale}: checkpoint={path} enlarges by {loaded.config['scale']}")
    return loaded._replace(net=loaded.net.to(device).eval())


def _ours(path: Path, content: dict[str, Any], trust: Sequence[str]) -> LoadedNet:
    config = update_config(content[KEY]["config"])
    node = config["model"]["net"]
    check_targets(node, trust, f"checkpoint={path}", "model.net")
    if node["_target_"] == SPANDREL:  # its weight file need not be here any more
        net = Spandrel.from_state_dict({k.removeprefix("model."): v for k, v in _kept(content["state_dict"]).items()})
    else:
        net = build_part(node, "model.net")
    restore_weights(net, path, content)
    entry = content[KEY]
    if config["scale"] != net.scale or config["color"] not in schema.COLORS:
        raise UserError(f"checkpoint={path}: not written by sr (scale={config['scale']}, color={config['color']})")
    return LoadedNet(
        net, config, entry["metrics"], content["global_step"], tuple(Leak(*leak) for leak in entry.get("leaks", ()))
    )


def restore_weights(net: nn.Module, path: Path, content: dict[str, Any] | None = None) -> None:
    """Put the weights of a checkpoint of ours into a net that is there already."""
    content = content or read_weights(path)
    state = _kept(content["state_dict"])
    wrong = find_misfit(net, state)
    if wrong:
        raise UserError(f"checkpoint={path}: its weights do not fit its net ({wrong})")
    net.load_state_dict(state)


def initialize_weights(module: SRModule, path: Path) -> None:
    """Give a module's net, and its averaged one, the weights of any file, ours or published, that hold such a net's."""
    path = path / BEST if path.is_dir() else path
    with rename_option("model.init", path):
        content = read_weights(path)
        state = (
            _fitted(module, path, content) if KEY in content else _adopted(module.net, path, unwrap_state_dict(content))
        )
    for net in {module.net, module.eval_net}:
        net.load_state_dict(state)


def _fitted(module: SRModule, path: Path, content: dict[str, Any]) -> State:
    """The weights of a checkpoint of ours, which must be of the module's scale and color, and fit its net."""
    try:
        there = update_config(content[KEY]["config"])
        node = there["model"]["net"]
        state, kinds = _kept(content["state_dict"]), {key: there[key] for key in ("scale", "color")}
        dials = ", ".join(f"{key}={value}" for key, value in node.items() if key != "_target_")
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"checkpoint={path}: not written by sr, or damaged ({error!r})") from None
    for key, here in (("scale", module.net.scale), ("color", module.color)):
        if kinds[key] != here:
            raise UserError(f"checkpoint={path} is of {key}={kinds[key]}, but this model is of {key}={here}")
    wrong = find_misfit(module.net, state)
    if wrong:
        raise UserError(f"checkpoint={path} does not fit model/net ({wrong}). It holds {node['_target_']} with {dials}")
    return state


def _adopted(net: nn.Module, path: Path, state: State) -> State:
    """A published file's weights under the net's names, less the words that somebody's module has put before them."""
    if not state:
        raise UserError(f"checkpoint={path}: there are no weights in it")
    for known in (state, strip_prefix(state), strip_prefix(state, 2)):
        ours = translate_names(net, known)
        if ours and not find_misfit(net, ours):
            return ours
    wrong = find_misfit(net, translate_names(net, state))
    fit, _ = _fitting(state)
    holds = f"It holds model/net={fit.name}, scale={fit.scales[0]}, {fit.channels} channel(s)" if fit else None
    raise UserError(
        f"checkpoint={path} does not fit model/net ({wrong}). {holds or architecture.describe_nearest(state)}"
    )


@contextlib.contextmanager
def rename_option(dial: str, path: Path | str) -> Iterator[None]:
    """Where a file was given by another dial than `checkpoint`, what is wrong with it is told under that one."""
    try:
        yield
    except UserError as error:
        raise UserError(str(error).replace(f"checkpoint={path}", f"{dial}={path}", 1)) from None


def _kept(state: dict[str, Any]) -> State:
    """The net's weights in a module's: the averaged ones, where there are such."""
    prefix = "ema.net." if any(name.startswith("ema.net.") for name in state) else "net."
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _published(path: Path, state: State, scale: int | None, node: dict[str, Any] | None) -> LoadedNet:
    if not state:
        raise UserError(f"checkpoint={path}: there are no weights in it")
    if node is None:
        fit, state = _fitting(state)
        if fit is None:
            return _foreign(path, state)
        if scale is None and len(fit.scales) == 1:
            scale = fit.scales[0]
        if scale not in fit.scales:
            serve = f"checkpoint={path}: {fit.name}'s weights serve scale={', '.join(map(str, fit.scales))}"
            raise UserError(f"scale={scale}: {serve}" if scale else f"{serve}: say which")
        node = architecture.compose_net_config(fit.name, scale, fit.channels)
    net = build_part(node, "model.net")
    ours = translate_names(net, state)
    wrong = find_misfit(net, ours)
    if wrong:
        raise UserError(
            f"checkpoint={path} does not fit model/net ({wrong}). Of all nets, {architecture.describe_nearest(state)}"
        )
    net.load_state_dict(ours)
    color = "y" if node.get("channels", 3) == 1 else "rgb"
    return LoadedNet(net, {"scale": net.scale, "color": color, "model": {"net": node}}, {}, 0)


def _fitting(state: State) -> tuple[architecture.DetectedNet | None, State]:
    """The net of these weights, also when somebody's module has put a word before all names, as Lightning's do."""
    for known in (state, strip_prefix(state), strip_prefix(state, 2)):
        fit = architecture.detect_net(known) if known else None
        if fit is not None:
            return fit, known
    return None, state


def _foreign(path: Path, state: State) -> LoadedNet:
    """A net that is not ours, by way of spandrel, where it is installed and knows it."""
    try:
        net = Spandrel.from_state_dict(state)
    except UserError as error:
        raise UserError(
            f"checkpoint={path} fits none of our nets ({architecture.describe_nearest(state)}). {error}"
        ) from None
    node = {"_target_": SPANDREL, "file": str(path), "scale": net.scale}
    color = "y" if net.channels == 1 else "rgb"
    return LoadedNet(net, {"scale": net.scale, "color": color, "model": {"net": node}}, {}, 0)
