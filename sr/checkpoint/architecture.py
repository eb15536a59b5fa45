"""Detect the net of a weight file: every YAML of `conf/model/net` is tried, by the names and shapes of its weights."""

import contextlib
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import hydra
import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

from sr.checkpoint.initialization import SkipInitialization
from sr.config import schema
from sr.config.build import build_part
from sr.inference.ntire import BASELINE
from sr.pretrained.state_dict import Misfit, State, find_misfit, translate_names
from sr.runtime.error import UserError

CHANNEL_COUNTS = (3, 1, 4)
MAX_CANDIDATES = 4  # nets with the most names in common, which are tried at every scale and channel count
MIN_SHARED_NAMES = 0.1  # share of names that a net must have in common with the file

MIN_PARTS = 1000  # of modules and parameters that any net may have
MAX_PARTS_PER_WEIGHT = 100  # many modules have no weights, and some are registered several times


class DetectedNet(NamedTuple):
    """A net that the weights of a file fit exactly."""

    name: str  # as in model/net=NAME
    nodes: dict[
        int, dict[str, Any]
    ]  # scale -> config; several if the weights do not depend on the scale, as those of VDSR
    channels: int

    @property
    def scales(self) -> tuple[int, ...]:
        """The scales that the weights serve."""
        return tuple(self.nodes)


def compose_net_config(name: str, scale: int, channels: int) -> dict[str, Any]:
    """Return the resolved config of `model/net=name`."""
    with _initialize_hydra():
        return _resolve(_compose(name), scale, channels)


def build_ntire_baseline(scale: int, channels: int) -> nn.Module:
    """Build the network that NTIRE's score compares with (`sr.inference.ntire`), with random weights."""
    node = compose_net_config("span", scale, channels) | BASELINE
    with torch.random.fork_rng(devices=[]):  # the random state of a training stays as it is
        return build_part(node, "model.net")


def detect_net(state: State) -> DetectedNet | None:
    """Return the net whose names and shapes are exactly those of `state`; None if there is none."""
    for name, cfg, net in _iterate_nets():  # the first that has all names is the first of the ranking below
        if _measure_share(net, state) == 1 and (found := _fit_net(name, _fit_options(cfg, net, state), state)):
            return found
    candidates = (_fit_net(name, cfg, state) for name, cfg in _rank_nets(state)[:MAX_CANDIDATES])
    return next(filter(None, candidates), None)


def _fit_net(name: str, cfg: DictConfig, state: State) -> DetectedNet | None:
    """Return the net with the channels and the scales whose shapes are those of the weights."""
    for channels in CHANNEL_COUNTS:
        nodes = {scale: _resolve(cfg, scale, channels) for scale in schema.SCALES}
        fitting = {scale: node for scale, node in nodes.items() if _find_misfit(node, state) == Misfit([], [], [])}
        if fitting:
            return DetectedNet(name, fitting, channels)
    return None


def describe_nearest(state: State) -> str:
    """Return for a file that fits no net which one comes closest, and what differs."""
    ranked = _rank_nets(state)
    if not ranked:
        return f"it shares no name with any of them; it has {', '.join(list(state)[:3])}, …"
    name, cfg = ranked[0]
    misfits = {
        f"scale={scale}, {channels} channel(s)": _find_misfit(_resolve(cfg, scale, channels), state)
        for scale in schema.SCALES
        for channels in CHANNEL_COUNTS
    }
    counts = {options: sum(map(len, misfit)) for options, misfit in misfits.items() if misfit is not None}
    options = min(counts, key=counts.get)
    return f"model/net={name} comes closest ({options}): {misfits[options]}"


@contextlib.contextmanager
def limit_parts(weights: int) -> Iterator[None]:
    """Raise while a net is built that has far more modules and parameters than a file has weights (depth=1000000000)."""
    limit, count = MIN_PARTS + MAX_PARTS_PER_WEIGHT * weights, 0

    def count_part(*_: Any) -> None:
        nonlocal count
        count += 1
        if count > limit:
            raise UserError(f"model.net: expected a net of {weights} weights, as many as the file has (found more)")

    with register_module_parameter_registration_hook(count_part), register_module_module_registration_hook(count_part):
        yield


def _rank_nets(state: State) -> list[tuple[str, DictConfig]]:
    """Return the nets with their unresolved configs, by the share of names that they have in common with the file.

    Nets with a `read_options` get the size that the weights have.
    """
    nets = {name: (cfg, net) for name, cfg, net in _iterate_nets()}
    shares = {name: _measure_share(net, state) for name, (_, net) in nets.items()}
    ranked = sorted(shares, key=shares.get, reverse=True)
    return [(name, _fit_options(*nets[name], state)) for name in ranked if shares[name] > MIN_SHARED_NAMES]


def _measure_share(net: nn.Module, state: State) -> float:
    """Return the share of names that a net and a file have in common."""
    net_names, file_names = set(net.state_dict()), set(translate_names(net, state))
    return len(net_names & file_names) / len(net_names | file_names)


def _fit_options(cfg: DictConfig, net: nn.Module, state: State) -> DictConfig:
    """Return the config with the options that a net reads from weights, such as its width; unchanged if it reads none."""
    if not hasattr(net, "read_options"):
        return cfg
    try:
        options = net.read_options(translate_names(net, state))
    except (KeyError, IndexError, TypeError):  # weights of another net
        return cfg
    return OmegaConf.merge(cfg, {"model": {"net": options}})


def _find_misfit(node: dict[str, Any], state: State) -> Misfit | None:
    net = _build_on_meta(node)
    return None if net is None else find_misfit(net, translate_names(net, state))


def _build_on_meta(node: dict[str, Any]) -> nn.Module | None:
    """Build a net without weights; None if it needs more than scale and channels, as spandrel's needs a file."""
    try:
        with torch.device("meta"), SkipInitialization():
            return build_part(node, "model.net")
    except UserError:
        return None


def _iterate_nets() -> Iterator[tuple[str, DictConfig, nn.Module]]:
    """Yield the name of every net with weights, its unresolved config, and the net at ×4 in RGB on the meta device."""
    with _initialize_hydra():
        loader = GlobalHydra.instance().config_loader()
        for name in loader.get_group_options("model/net", ObjectType.CONFIG):
            cfg, net = _build_net(str(loader.get_search_path()), name)
            if net is not None and net.state_dict():
                yield name, cfg, net


@cache
def _build_net(search_path: str, name: str) -> tuple[DictConfig, nn.Module | None]:
    """Build a net; `search_path` is Hydra's, which the cached result depends on."""
    cfg = _compose(name)
    return cfg, _build_on_meta(_resolve(cfg, 4, 3))


def _compose(name: str) -> DictConfig:
    """Return the net's own YAML below `model.net`, with its interpolations."""
    path = f"model/net/{name}"
    result = GlobalHydra.instance().config_loader().repository.load_config(path)
    if result is None or result.defaults_list or result.header.get("package"):
        return hydra.compose(path)
    return OmegaConf.create({"model": {"net": result.config}})  # Hydra takes 50 ms for each to find the same


def _resolve(cfg: DictConfig, scale: int, channels: int) -> dict[str, Any]:
    merged = OmegaConf.merge({"scale": scale, "channels": channels}, cfg)
    return OmegaConf.to_container(merged.model.net, resolve=True)


@contextlib.contextmanager
def _initialize_hydra() -> Iterator[None]:
    """Use Hydra as the running command has initialized it, with the user's --config-dir, or initialize it for the block."""
    if GlobalHydra.instance().is_initialized():
        yield
        return
    hydra.initialize_config_dir(str(schema.find_conf_dir()), version_base="1.3")
    try:
        yield
    finally:
        GlobalHydra.instance().clear()
