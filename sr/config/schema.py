"""The dials, typed and checked before anything heavy is imported."""

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path, PurePath
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sr.config.renamed import find_old_names
from sr.config.signature import check_parts
from sr.runtime.error import UserError, suggest_nearest

SCALES = (2, 3, 4, 8)
COLORS = {"rgb": 3, "y": 1, "gray": 1}  # channels that a net sees
STAGES = ("fit", "test")
PRECISIONS = ("32-true", "32", "bf16-mixed", "16-mixed")
COUNTS = (
    "data.batch", "data.patch", "data.repeat",
    "rounds", "steps", "tile", "patience", "save_steps", "model.gradient_share_interval", "model.d_steps",
    "model.penalty.r1.interval", "model.penalty.gradient.interval",
    "trainer.max_steps", "trainer.max_epochs", "trainer.val_check_interval", "trainer.accumulate_grad_batches",
)  # fmt: skip


@dataclass
class Paths:
    """Where things lie."""

    data: str
    runs: str
    cache: str = ""


@dataclass
class SharedOptions:
    """What all parts share; see conf/run.yaml for what each means."""

    paths: Paths
    scale: int
    color: str
    seed: int
    watch: str = "psnr"
    channels: int | None = None
    stages: list[str] = field(default_factory=list)
    patience: int | None = None
    resume: str | None = None
    trust: list[str] = field(default_factory=list)
    save_minutes: float | None = 5.0
    save_steps: int | None = None


def find_conf_dir() -> Path:
    """`conf`: inside the package when installed from a wheel, beside it in a checkout."""
    here = Path(__file__).resolve().parents[1]
    return here / "conf" if (here / "conf").is_dir() else here.parent / "conf"


def resolve_config(cfg: DictConfig, groups: Iterable[str] = ()) -> dict[str, Any]:
    """Check the composed config and return it resolved, as plain values, with what follows from other dials.

    `groups` are Hydra's choices (`model/net`, `model/optimizer@model.discriminator_optimizer`).
    """
    _check_groups(cfg, groups)
    check_lists(cfg, "stages", "data.val", "data.test")
    dials = _typed(cfg)
    check_choice("scale", dials.scale, SCALES)
    check_choice("color", dials.color, COLORS)
    for stage in dials.stages:
        check_choice("stages", stage, STAGES)
    if dials.channels is None:
        cfg.channels = COLORS[dials.color]
    try:
        config = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise UserError(str(error).splitlines()[0]) from None
    _check_names(config)
    _check_shared(config)
    _check_numbers(config)
    check_flags(config, "ensemble")
    check_parts(config)
    return config


def _check_names(config: dict[str, Any]) -> None:
    """Raise where an old option name was added, by a YAML of the user's or with a +: it would have no effect."""
    for old, new in find_old_names(config).items():
        raise UserError(f"{old}: this option is now called {new}; write {new} in your command or YAML")


def _check_shared(config: dict[str, Any]) -> None:
    """A part's copy of a dial that all parts share must be that dial: else half of them would not know."""
    model = config.get("model", {})
    parts = {"data": config.get("data"), "data.degrade": config.get("data", {}).get("degrade"), "model": model,
             "metric": config.get("metric"), "model.net": model.get("net")}  # fmt: skip
    for where, part in parts.items():
        for key in ("scale", "color", "channels", "seed"):
            if isinstance(part, dict) and key in part and key in config and part[key] != config[key]:
                raise UserError(f"{where}.{key}={part[key]}: all parts share this dial, which is {key}={config[key]}")


def check_flags(config: dict[str, Any], *keys: str) -> None:
    """Raise where one of these dials is there and neither true nor false."""
    for key in keys:
        if not isinstance(config.get(key, False), bool):
            raise UserError(f"{key}={config[key]}: expected true or false")


def to_plain(cfg: DictConfig) -> Any:
    """Resolved, as plain values."""
    return OmegaConf.to_container(cfg, resolve=True)


def require_options(cfg: DictConfig, *keys: str) -> None:
    """Raise unless each of these dials was given."""
    missing = [key for key in keys if OmegaConf.is_missing(cfg, key)]
    if missing:
        raise UserError(f"still needed: {' '.join(f'{key}=…' for key in missing)} (see --help)")


def _check_groups(cfg: DictConfig, groups: Iterable[str]) -> None:
    """A part that was given a plain value: `model.net=edsr` instead of `model/net=edsr`."""
    for group in groups:
        value = OmegaConf.select(cfg, group.rpartition("@")[2].replace("/", "."))
        if isinstance(value, str):
            raise UserError(f"{group.replace('/', '.')}={value}: a part is chosen with a slash: {group}={value}")


def check_lists(cfg: DictConfig, *keys: str) -> None:
    """Raise where one of these dials is no list, or names something twice."""
    for key in keys:
        value = OmegaConf.select(cfg, key)
        if value is not None and not isinstance(value, ListConfig):
            raise UserError(f"{key}={value}: expected a list: {key}=[{value}]")
        names = [PurePath(str(name)).name for name in value or []]
        if len(set(names)) < len(names):
            raise UserError(f"{key}={value}: a name stands there twice, and its numbers could not be told apart")


def _typed(cfg: DictConfig) -> SharedOptions:
    known = {f.name: cfg[f.name] for f in fields(SharedOptions) if f.name in cfg}
    try:
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(SharedOptions), known))
    except OmegaConfBaseException as error:
        raise UserError(
            f"{error.full_key}={OmegaConf.select(cfg, error.full_key)}: {str(error.msg or error).splitlines()[0]}"
        ) from None


def check_choice(key: str, value: Any, choices: Any) -> None:
    """Raise unless `value` is one of `choices`, with the nearest one."""
    if value not in choices:
        hint = suggest_nearest(str(value), map(str, choices)) if isinstance(value, str) else ""
        raise UserError(f"{key}={value}: expected one of {', '.join(map(str, choices))}.{hint}")


def _check_numbers(config: dict[str, Any]) -> None:
    """Counts that make no sense at zero or below, or as anything but a whole number; and what is not supported yet."""
    if not 0 <= config["seed"] < 2**32:
        raise UserError(f"seed={config['seed']}: expected a whole number from 0 to 4294967295")
    minutes = config.get("save_minutes")
    if minutes is not None and minutes <= 0:
        raise UserError(f"save_minutes={minutes}: expected a number of minutes above 0, or null for never")
    if "trainer" in config:
        _check_trainer(config, config["trainer"])
    workers = config["data"].get("workers", 0)
    if not isinstance(workers, int) or workers < 0:
        raise UserError(f"data.workers={workers}: expected a whole number, 0 or more")
    check_counts(config)


def check_counts(config: dict[str, Any]) -> None:
    """Raise where one of `COUNTS` is there and is no whole number of 1 or more."""
    for key in COUNTS:
        node: Any = config
        for word in key.split("."):
            node = node.get(word) if isinstance(node, dict) else None
        without = key in ("trainer.max_steps", "trainer.max_epochs") and node == -1
        if node is not None and not without and (not isinstance(node, int) or isinstance(node, bool) or node < 1):
            raise UserError(f"{key}={node}: expected a whole number, 1 or more")


def count_processes(trainer: dict[str, Any]) -> int:
    """How many processes of this machine train together: one for each device."""
    if trainer.get("devices", 1) != "auto":
        return trainer.get("devices", 1)
    from torch import cuda

    return max(1, cuda.device_count())


def _check_trainer(config: dict[str, Any], trainer: dict[str, Any]) -> None:
    devices = trainer.get("devices", 1)
    if devices != "auto" and (not isinstance(devices, int) or isinstance(devices, bool) or devices < 1):
        raise UserError(f"trainer.devices={devices}: expected a count, 1 or more, or auto")
    if devices != 1 and trainer.get("strategy", "auto") == "auto":
        raise UserError(f"trainer.devices={devices}: several devices are trainer=ddp trainer.devices={devices}")
    check_choice("trainer.precision", str(trainer.get("precision", "32")), PRECISIONS)
    if trainer.get("precision") == "16-mixed" and "adversarial" in config["model"]:
        raise UserError("trainer.precision=16-mixed: a GAN's two players cannot share one loss scale; use bf16-mixed")
    if trainer.get("precision") == "16-mixed" and config["model"].get("optimizer", {}).get("fused"):
        raise UserError("model.optimizer.fused=true: hides the gradient of trainer.precision=16-mixed; leave it null")
    clip = trainer.get("gradient_clip_val")
    if clip is not None and (not isinstance(clip, int | float) or clip <= 0):
        raise UserError(f"trainer.gradient_clip_val={clip}: expected a number above 0, or null")
    if "gradient_clip_algorithm" in trainer:
        raise UserError(
            "trainer.gradient_clip_algorithm: there is no such dial; the gradient's norm is what is clipped"
        )
    if trainer.get("max_steps") == -1 and trainer.get("max_epochs") in (None, -1):
        raise UserError("trainer.max_steps=-1: without a limit of steps, set trainer.max_epochs")
    for key in ("val_check_interval", "accumulate_grad_batches", "max_steps"):
        if trainer.get(key) is None:
            raise UserError(f"trainer.{key}=null: expected a whole number, 1 or more")
