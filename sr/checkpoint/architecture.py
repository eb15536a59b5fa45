"""Which of our nets a weight file belongs to: every YAML of `conf/model/net` is tried, by names and shapes alone."""

from functools import lru_cache
from typing import Any, NamedTuple

import hydra
import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from omegaconf import DictConfig, OmegaConf
from torch import nn

from sr.config import schema
from sr.config.build import build_part
from sr.pretrained.state_dict import Misfit, State, find_misfit, translate_names
from sr.runtime.error import UserError

CHANNELS = (3, 1, 4)
TRIED = 4  # nets that share the most with the file, tried at every scale and channel count
LEAST = 0.1  # share of names below which a net is none of them


class DetectedNet(NamedTuple):
    """A net that takes a file's weights as they are."""

    name: str  # as in model/net=NAME
    node: dict[str, Any]  # its config at `scales[0]`
    scales: tuple[int, ...]  # several where the weights do not depend on the scale, as VDSR's
    channels: int


def compose_net_config(name: str, scale: int, channels: int) -> dict[str, Any]:
    """The resolved config of `model/net=name`."""
    with _hydra():
        return _resolved(_composed(name), scale, channels)


def detect_net(state: State) -> DetectedNet | None:
    """The net whose names and shapes are exactly those of `state`; None when there is none."""
    for name, cfg in _ranked(state)[:TRIED]:
        for channels in CHANNELS:
            fits = {
                scale: node
                for scale in schema.SCALES
                for node in [_resolved(cfg, scale, channels)]
                if _misfit(node, state) == Misfit([], [], [])
            }
            if fits:
                return DetectedNet(name, next(iter(fits.values())), tuple(fits), channels)
    return None


def describe_nearest(state: State) -> str:
    """What to say of a file that fits no net: the one that comes closest, and what is in the way."""
    ranked = _ranked(state)
    if not ranked:
        return f"it shares no name with any of them; it has {', '.join(list(state)[:3])}, …"
    name, cfg = ranked[0]
    tries = [
        (found, f"scale={scale}, {channels} channel(s)")
        for scale in schema.SCALES
        for channels in CHANNELS
        for found in [_misfit(_resolved(cfg, scale, channels), state)]
        if found is not None
    ]
    found, which = min(tries, key=lambda pair: sum(map(len, pair[0])))
    return f"model/net={name} comes closest ({which}): {found}"


def _ranked(state: State) -> list[tuple[str, DictConfig]]:
    """The nets, with their unresolved configs, by the share of names that they have in common with the file."""
    shares, known = {}, _all()
    for name, (_, wanted) in known.items():
        ours, theirs = set(wanted.state_dict()), set(translate_names(wanted, state))
        shares[name] = len(ours & theirs) / len(ours | theirs)
    return [(name, known[name][0]) for name in sorted(shares, key=shares.get, reverse=True) if shares[name] > LEAST]


def _misfit(node: dict[str, Any], state: State) -> Misfit | None:
    net = _net(node)
    return None if net is None else find_misfit(net, translate_names(net, state))


def _net(node: dict[str, Any]) -> nn.Module | None:
    """The net without its weights; None for one that needs more than a scale and channels (spandrel's a file)."""
    try:
        with torch.device("meta"):
            return build_part(node, "model.net")
    except UserError:
        return None


def _all() -> dict[str, tuple[DictConfig, nn.Module]]:
    """Every net's unresolved config, and its names at ×4 in RGB, on the meta device."""
    with _hydra():
        loader = GlobalHydra.instance().config_loader()
        names = loader.get_group_options("model/net", ObjectType.CONFIG)
        return _built(str(loader.get_search_path()), tuple(names))


@lru_cache
def _built(where: str, names: tuple[str, ...]) -> dict[str, tuple[DictConfig, nn.Module]]:
    """`where` is Hydra's search path: what is found depends on it."""
    configs = {name: _composed(name) for name in names}
    nets = {name: _net(_resolved(cfg, 4, 3)) for name, cfg in configs.items()}
    return {name: (configs[name], net) for name, net in nets.items() if net is not None and net.state_dict()}


def _composed(name: str) -> DictConfig:
    """The net's own YAML, under `model.net`, with its interpolations."""
    return hydra.compose(f"model/net/{name}")


def _resolved(cfg: DictConfig, scale: int, channels: int) -> dict[str, Any]:
    known = OmegaConf.merge({"scale": scale, "channels": channels}, cfg)
    return OmegaConf.to_container(known.model.net, resolve=True)


class _hydra:  # noqa: N801  a context, used like a function
    """Hydra, as the verb that runs has opened it (with the user's --config-dir), or opened for the moment."""

    def __enter__(self) -> None:
        self.own = not GlobalHydra.instance().is_initialized()
        if self.own:
            hydra.initialize_config_dir(str(schema.find_conf_dir()), version_base="1.3")

    def __exit__(self, *_: object) -> None:
        if self.own:
            GlobalHydra.instance().clear()
