"""Check the composed config, before anything heavy is imported."""

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
COLORS = {"rgb": 3, "y": 1, "gray": 1}  # channels of the net
STAGES = ("fit", "test")
PRECISIONS = ("32-true", "32", "bf16-mixed", "16-mixed")
COUNTS = (  # options that are whole numbers of 1 or more
    "data.batch", "data.patch", "data.repeat",
    "rounds", "steps", "tile", "patience", "checkpoint_steps", "model.gradient_share_interval", "model.d_steps",
    "model.penalty.r1.interval", "model.penalty.gradient.interval",
    "trainer.max_steps", "trainer.max_epochs", "trainer.val_check_interval", "trainer.accumulate_grad_batches",
)  # fmt: skip

GPU_ACCELERATORS = ("auto", "gpu", "cuda")
_PARTIAL_MEAN = (
    "a mean over some images would stand under the name of the whole set; choose sets instead: data.{split}=[…]"
)
_SET_BY_SR = "this option of Lightning is set by sr; leave it out"
REFUSED_TRAINER_OPTIONS = {  # of Lightning's Trainer, with what to type instead
    "limit_val_batches": _PARTIAL_MEAN.format(split="val"),
    "limit_test_batches": _PARTIAL_MEAN.format(split="test"),
    "fast_dev_run": "numbers of so few images would stand under the names of whole sets; for a trial run: "
    "trainer.max_steps=2 track=none",
    "overfit_batches": "it would evaluate on training images; to overfit: data=folder with few images",
    "limit_train_batches": "an epoch always has all patches; type trainer.max_steps=…",
    "gradient_clip_algorithm": "there is no such option; always the norm of the gradient is clipped",
    **dict.fromkeys(
        ("callbacks", "logger", "check_val_every_n_epoch", "num_sanity_val_steps", "enable_checkpointing",
         "enable_progress_bar", "enable_model_summary", "use_distributed_sampler", "log_every_n_steps"), _SET_BY_SR,
    ),
}  # fmt: skip


@dataclass
class Paths:
    """The folders of data, runs and caches."""

    data: str
    runs: str
    cache: str = ""


@dataclass
class SharedOptions:
    """The options that all parts share; conf/run.yaml explains each."""

    paths: Paths
    scale: int
    color: str
    seed: int
    monitor: str = "psnr"
    channels: int | None = None
    stages: list[str] = field(default_factory=list)
    patience: int | None = None
    resume: str | None = None
    trust: list[str] = field(default_factory=list)
    checkpoint_minutes: float | None = 5.0
    checkpoint_steps: int | None = None


def find_conf_dir() -> Path:
    """Return the folder `conf`: inside the package if that was installed from a wheel, next to it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    return package / "conf" if (package / "conf").is_dir() else package.parent / "conf"


def resolve_config(cfg: DictConfig, groups: Iterable[str] = ()) -> dict[str, Any]:
    """Check the composed config and return it as plain values, with interpolations and derived options filled in.

    `groups` are the config groups of Hydra's choices (`model/net`, `model/optimizer@model.discriminator_optimizer`).
    """
    _check_groups(cfg, groups)
    check_lists(cfg, "stages", "data.val", "data.test")
    options = _read_shared_options(cfg)
    check_choice("scale", options.scale, SCALES)
    check_choice("color", options.color, COLORS)
    _check_stages(options.stages, "stages" in cfg)
    if options.channels is None:
        cfg.channels = COLORS[options.color]
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
    """Raise if an old option name was added by a user's YAML or with a +; it would have no effect."""
    for old, new in find_old_names(config).items():
        raise UserError(f"{old}: this option is now called {new}; write {new} in your command or YAML")


def _check_shared(config: dict[str, Any]) -> None:
    """Raise if a part has another value than the config itself for an option that all parts share."""
    model = config.get("model", {})
    parts = {"data": config.get("data"), "data.degrade": config.get("data", {}).get("degrade"), "model": model,
             "metric": config.get("metric"), "model.net": model.get("net")}  # fmt: skip
    for where, part in parts.items():
        for key in ("scale", "color", "channels", "seed"):
            if isinstance(part, dict) and key in part and key in config and part[key] != config[key]:
                raise UserError(
                    f"{where}.{key}={part[key]}: all parts share this option, which is {key}={config[key]}; set {key} instead"
                )


def check_flags(config: dict[str, Any], *keys: str) -> None:
    """Raise if one of these options exists and is neither true nor false."""
    for key in keys:
        if not isinstance(config.get(key, False), bool):
            raise UserError(f"{key}={config[key]}: expected true or false")


def to_plain(cfg: DictConfig) -> Any:
    """Return a config as plain values, with interpolations filled in."""
    return OmegaConf.to_container(cfg, resolve=True)


def require_options(cfg: DictConfig, *keys: str) -> None:
    """Raise unless each of these options has a value."""
    missing = [key for key in keys if OmegaConf.is_missing(cfg, key)]
    if missing:
        raise UserError(f"missing: {' '.join(f'{key}=…' for key in missing)} (see --help)")


def _check_groups(cfg: DictConfig, groups: Iterable[str]) -> None:
    """Raise if a part was set to a plain value: `model.net=edsr` instead of `model/net=edsr`."""
    for group in groups:
        value = OmegaConf.select(cfg, group.rpartition("@")[2].replace("/", "."))
        if isinstance(value, str):
            raise UserError(f"{group.replace('/', '.')}={value}: a part is chosen with a slash: {group}={value}")


def check_lists(cfg: DictConfig, *keys: str) -> None:
    """Raise if one of these options is no list, or contains a name twice."""
    for key in keys:
        value = OmegaConf.select(cfg, key)
        if value is not None and not isinstance(value, ListConfig):
            raise UserError(f"{key}={value}: expected a list: {key}=[{value}]")
        names = [PurePath(str(name)).name for name in value or []]
        if len(set(names)) < len(names):
            raise UserError(
                f"{key}={value}: expected each name once (found one twice); their results would have the same name"
            )


def _read_shared_options(cfg: DictConfig) -> SharedOptions:
    """Return the shared options with checked types; an option that the command does not have gets its default."""
    values = {f.name: cfg[f.name] for f in fields(SharedOptions) if f.name in cfg}
    try:
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(SharedOptions), values))
    except OmegaConfBaseException as error:
        raise UserError(
            f"{error.full_key}={OmegaConf.select(cfg, error.full_key)}: {str(error.msg or error).splitlines()[0]}"
        ) from None


def check_choice(key: str, value: Any, choices: Any) -> None:
    """Raise unless `value` is one of `choices`; the message suggests the nearest one."""
    if value not in choices:
        hint = suggest_nearest(str(value), map(str, choices)) if isinstance(value, str) else ""
        raise UserError(f"{key}={value}: expected one of {', '.join(map(str, choices))}.{hint}")


def _check_stages(stages: list[str], is_option: bool) -> None:
    """Raise unless `stages` names stages in their order; a command without this option has none."""
    for stage in stages:
        check_choice("stages", stage, STAGES)
    typed = f"stages=[{','.join(stages)}]"
    if is_option and not stages:
        raise UserError(f"{typed}: expected one stage or more: stages=[{','.join(STAGES)}]")
    if stages != sorted(stages, key=STAGES.index):
        raise UserError(
            f"{typed}: training comes before the test, which evaluates its result; type stages=[{','.join(STAGES)}]"
        )


def _check_numbers(config: dict[str, Any]) -> None:
    """Raise if a number is out of its range, or a combination of options is not supported."""
    if not 0 <= config["seed"] < 2**32:
        raise UserError(f"seed={config['seed']}: expected a whole number from 0 to 4294967295")
    minutes = config.get("checkpoint_minutes")
    if minutes is not None and minutes <= 0:
        raise UserError(f"checkpoint_minutes={minutes}: expected a number of minutes above 0, or null for never")
    if "trainer" in config:
        _check_trainer(config, config["trainer"])
    workers = config["data"].get("workers", 0)
    if not isinstance(workers, int) or workers < 0:
        raise UserError(f"data.workers={workers}: expected a whole number, 0 or more")
    check_counts(config)


def check_counts(config: dict[str, Any]) -> None:
    """Raise if one of `COUNTS` exists and is no whole number of 1 or more."""
    for key in COUNTS:
        node: Any = config
        for word in key.split("."):
            node = node.get(word) if isinstance(node, dict) else None
        is_unlimited = key in ("trainer.max_steps", "trainer.max_epochs") and node == -1
        if node is not None and not is_unlimited and (not isinstance(node, int) or isinstance(node, bool) or node < 1):
            raise UserError(f"{key}={node}: expected a whole number, 1 or more")


def count_processes(trainer: dict[str, Any]) -> int:
    """Return the number of training processes on this machine: one for each device of the chosen accelerator."""
    devices, accelerator = trainer.get("devices", 1), trainer.get("accelerator", "auto")
    if isinstance(devices, int):
        return devices
    from torch import cuda

    gpus = cuda.device_count() if accelerator in GPU_ACCELERATORS else 0
    if devices == "auto":
        return max(1, gpus)  # Lightning takes one process for the CPU
    if accelerator in GPU_ACCELERATORS and max(devices) >= gpus:
        raise UserError(f"trainer.devices={devices}: expected numbers of GPUs (found {gpus} GPUs, counted from 0)")
    return len(devices)


def _check_devices(devices: Any, trainer: dict[str, Any]) -> None:
    """Raise unless `devices` is a count, `auto` or a list of GPU numbers, and the trainer can use as many."""
    numbers = devices if isinstance(devices, list) else [devices]
    is_whole = all(isinstance(number, int) and not isinstance(number, bool) for number in numbers)
    is_list = isinstance(devices, list) and is_whole and len(set(numbers)) == len(numbers) > 0 <= min(numbers)
    if devices != "auto" and not is_list and not (devices is numbers[0] and is_whole and devices >= 1):
        raise UserError(
            f"trainer.devices={devices}: expected a count, 1 or more, a list of GPU numbers such as [0,1], or auto"
        )
    typed = str(devices).replace(" ", "")
    if is_list and trainer.get("accelerator") == "cpu":
        raise UserError(
            f"trainer.devices={typed}: expected a count with trainer.accelerator=cpu, such as {len(devices)}"
        )
    if trainer.get("strategy", "auto") == "auto" and not (devices == 1 or (is_list and len(devices) == 1)):
        raise UserError(f"trainer.devices={typed}: for several devices type trainer=ddp trainer.devices={typed}")


def _check_trainer(config: dict[str, Any], trainer: dict[str, Any]) -> None:
    _check_devices(trainer.get("devices", 1), trainer)
    for key, advice in REFUSED_TRAINER_OPTIONS.items():
        if key in trainer:
            raise UserError(f"trainer.{key}={trainer[key]}: {advice}")
    check_choice("trainer.precision", str(trainer.get("precision", "32")), PRECISIONS)
    if trainer.get("precision") == "16-mixed" and "adversarial" in config["model"]:
        raise UserError("trainer.precision=16-mixed: G and D of a GAN cannot share one loss scale; use bf16-mixed")
    if trainer.get("precision") == "16-mixed" and config["model"].get("optimizer", {}).get("fused"):
        raise UserError(
            "model.optimizer.fused=true: does not work with trainer.precision=16-mixed, which needs the gradient; use null"
        )
    clip = trainer.get("gradient_clip_val")
    if clip is not None and (not isinstance(clip, int | float) or clip <= 0):
        raise UserError(f"trainer.gradient_clip_val={clip}: expected a number above 0, or null")
    if trainer.get("max_steps") == -1 and trainer.get("max_epochs") in (None, -1):
        raise UserError("trainer.max_steps=-1: without a limit of steps trainer.max_epochs is needed; set it")
    for key in ("val_check_interval", "accumulate_grad_batches", "max_steps"):
        if trainer.get(key) is None:
            raise UserError(f"trainer.{key}=null: expected a whole number, 1 or more")
