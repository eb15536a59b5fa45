"""Compose and check the configs of trials before the first one begins.

Hydra reads all files of `conf/` for each composition. Here it does so once for each choice of config groups; the values of
options, which are most of a sweep, are set in a copy of that config by Hydra's own function.
"""

import copy
from collections.abc import Sequence
from typing import Any

import hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from sr.config import schema
from sr.config.hydra_error import explain_hydra_error
from sr.runtime.error import UserError
from sr.sweep.space import Interval, Params, Space, to_words


class TrialComposer:
    """Composes the configs of trials, all of which have the overrides `fixed`."""

    def __init__(self, fixed: Sequence[str], space: Space) -> None:
        self.fixed, self.space = list(fixed), space
        self._groups = {key for key in space if _is_group(key)}
        self._composed: dict[tuple[str, ...], tuple[DictConfig, dict[str, str]]] = {}

    def compose(self, params: Params) -> dict[str, Any]:
        """Return the resolved config of a trial. Raise a `UserError` that names the trial if an option is wrong."""
        words = to_words(params)
        try:
            base, choices = self._compose_groups(params)
            cfg = copy.deepcopy(base)
            values = to_words({key: value for key, value in params.items() if key not in self._groups})
            ConfigLoaderImpl._apply_overrides_to_config(OverridesParser.create().parse_overrides(values), cfg)
            return schema.resolve_config(cfg, choices)
        except (UserError, HydraException, OmegaConfBaseException) as error:
            is_hydras = not isinstance(error, UserError)
            message = explain_hydra_error(error, "run", [*self.fixed, *words]) if is_hydras else error
            hint = self._advise_integers(str(message))
            raise UserError(f"{message}{hint}\n(in the trial {' '.join(words)}; nothing was run)") from None

    def _compose_groups(self, params: Params) -> tuple[DictConfig, dict[str, str]]:
        """Return the config of a trial's choices of groups, without its values, and all choices."""
        words = tuple(to_words({key: value for key, value in params.items() if key in self._groups}))
        if words not in self._composed:
            cfg = hydra.compose("run", overrides=[*self.fixed, *words], return_hydra_config=True)
            choices = dict(cfg.hydra.runtime.choices)
            with read_write(cfg), open_dict(cfg):
                del cfg["hydra"]
            self._composed[words] = cfg, choices
        return self._composed[words]

    def _advise_integers(self, message: str) -> str:
        """Return what to type if the message is about a number of an interval that should be a whole one."""
        key = message.partition("=")[0]
        dimension = self.space.get(key)
        if isinstance(dimension, Interval) and "whole number" in message and isinstance(dimension.low, float):
            return f"; type {key}=int(interval({dimension.low:.0f},{dimension.high:.0f}))"
        return ""


def _is_group(key: str) -> bool:
    repository = GlobalHydra.instance().config_loader().repository
    return "/" in key or "@" in key or repository.group_exists(key.lstrip("+~"))
