"""Check the composed config, before anything heavy is imported."""

import re
from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any, get_args, get_type_hints

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sr.config.diff import flatten
from sr.config.options import RunOptions
from sr.config.renamed import find_old_names
from sr.config.signature import find_wrong_values, is_same
from sr.config.value import WrongValue, find_wrong_value, format_value
from sr.runtime.error import UserError, suggest_nearest
from sr.runtime.option_types import Scale, Stage

SCALES = get_args(Scale)
STAGES = get_args(Stage)  # in this order
COLORS = {"rgb": 3, "y": 1, "gray": 1}  # channels of the net; of color=bands the user types how many
BANDS = "bands"
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


def find_conf_dir() -> Path:
    """Return the folder `conf`: inside the package if that was installed from a wheel, next to it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    return package / "conf" if (package / "conf").is_dir() else package.parent / "conf"


def resolve_config(
    cfg: DictConfig, groups: Iterable[str] = (), options: type = RunOptions, stored: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Check the composed config and return it as plain values, with interpolations and derived options filled in.

    `groups` are the config groups of Hydra's choices (`model/net`, `model/optimizer@model.discriminator_optimizer`),
    `options` are the command's (`sr.config.options`), and `stored` is the config of the run that is resumed.
    """
    _check_groups(cfg, groups)
    if HydraConfig.initialized():
        check_repeated_parts(HydraConfig.get().overrides.task)
    if cfg.get("channels") is None and isinstance(cfg.color, str):  # a wrong color is reported below
        cfg.channels = COLORS.get(cfg.color)
        if cfg.color == BANDS:
            raise UserError("channels: expected the number of bands (found none); color=bands needs it: channels=4")
    try:
        config = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
        derived = list_derived_options(cfg)
    except OmegaConfBaseException as error:
        raise UserError(str(error).splitlines()[0]) from None
    check_config(config, options, stored, derived)
    return config


def check_config(
    config: dict[str, Any],
    options: type = RunOptions,
    stored: Mapping[str, Any] | None = None,
    derived: Container[str] = (),
) -> None:
    """Raise a `UserError` if an option of a resolved config has a wrong name or value.

    Of several wrong values one that was typed is reported, not one of the `derived` options, which follow from others.
    """
    _check_names(config)
    for wrong in find_wrong_options(config, options, stored):
        raise UserError(wrong.message)
    wrong_values = list(find_wrong_values(config, stored))
    if wrong_values:
        raise UserError(min(wrong_values, key=lambda wrong: wrong.key in derived).message)
    _check_shared(config)
    check_unique(config, "stages", "cost", "trust", "data.val", "data.test")
    if "stages" in config:
        _check_stages(config["stages"])
    if "trainer" in config:
        _check_trainer(config, config["trainer"])


def check_options(cfg: DictConfig, options: type, *unique: str) -> dict[str, Any]:
    """Return the config of a command without parts as plain values, or raise if one of them is wrong.

    `unique` are lists that may contain each name once.
    """
    config = to_plain(cfg)
    for wrong in find_wrong_options(config, options):
        raise UserError(wrong.message)
    check_unique(config, *unique)
    return config


def find_wrong_options(
    config: Mapping[str, Any], options: type, stored: Mapping[str, Any] | None = None
) -> Iterator[WrongValue]:
    """Yield the options at the top of a config whose values a command does not take.

    `options` is a `TypedDict` (`sr.config.options`); an option that it does not have is not checked.
    """
    for name, kind in get_type_hints(options, include_extras=True).items():
        wrong = find_wrong_value(config[name], kind, name) if name in config else None
        if wrong and not is_same(name, config[name], stored or {}):
            yield wrong


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


def check_repeated_parts(overrides: Iterable[str]) -> None:
    """Raise if a command line chooses a part twice: `model/loss=[l1,l1]`; it would count once."""
    for word in overrides:
        group, _, value = word.partition("=")
        names = re.findall(r"[\w.]+", value) if "/" in group and value.startswith("[") else []
        repeated = next((name for name in names if names.count(name) > 1), None)
        if repeated:
            raise UserError(f"{word}: expected each part once (found {repeated} twice); leave one of them out")


def check_unique(config: dict[str, Any], *keys: str) -> None:
    """Raise if one of these options, lists of names, contains a name twice."""
    for key in keys:
        value: Any = config
        for word in key.split("."):
            value = value.get(word) if isinstance(value, dict) else None
        names = [PurePath(str(name)).name for name in value or []]
        if len(set(names)) < len(names):
            raise UserError(
                f"{key}={format_value(value)}: expected each name once (found one twice); "
                "their results would have the same name"
            )


def list_derived_options(cfg: DictConfig) -> list[str]:
    """Return the options whose value is that of another option; one from the environment is not derived."""
    raw = flatten(OmegaConf.to_container(cfg, resolve=False))
    return ["channels", *(k for k, v in raw.items() if isinstance(v, str) and "${" in v and "${oc.env:" not in v)]


def check_choice(key: str, value: Any, choices: Any) -> None:
    """Raise unless `value` is one of `choices`; the message suggests the nearest one."""
    if value not in choices:
        hint = suggest_nearest(str(value), map(str, choices)) if isinstance(value, str) else ""
        raise UserError(f"{key}={value}: expected one of {', '.join(map(str, choices))}.{hint}")


def _check_stages(stages: list[str]) -> None:
    """Raise unless there is a stage, and `stages` are in their order."""
    typed = f"stages={format_value(stages)}"
    if not stages:
        raise UserError(f"{typed}: expected one stage or more: stages=[{','.join(STAGES)}]")
    if stages != sorted(stages, key=STAGES.index):
        raise UserError(
            f"{typed}: training comes before the test, which evaluates its result; type stages=[{','.join(STAGES)}]"
        )


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
    """Raise unless the trainer can use so many devices: a count, `auto` or a list of GPU numbers."""
    typed = f"trainer.devices={format_value(devices)}"
    is_list = isinstance(devices, list)
    if is_list and len(set(devices)) < len(devices):
        raise UserError(f"{typed}: expected each GPU once (found one twice)")
    if is_list and trainer.get("accelerator") == "cpu":
        raise UserError(f"{typed}: expected a count with trainer.accelerator=cpu, such as {len(devices)}")
    if trainer.get("strategy", "auto") == "auto" and not (devices == 1 or (is_list and len(devices) == 1)):
        raise UserError(f"{typed}: for several devices type trainer=ddp {typed}")


def _check_trainer(config: dict[str, Any], trainer: dict[str, Any]) -> None:
    _check_devices(trainer.get("devices", 1), trainer)
    for key, advice in REFUSED_TRAINER_OPTIONS.items():
        if key in trainer:
            raise UserError(f"trainer.{key}={trainer[key]}: {advice}")
    if trainer.get("precision") == "16-mixed" and "adversarial" in config["model"]:
        raise UserError("trainer.precision=16-mixed: G and D of a GAN cannot share one loss scale; use bf16-mixed")
    if trainer.get("precision") == "16-mixed" and config["model"].get("optimizer", {}).get("fused"):
        raise UserError(
            "model.optimizer.fused=true: does not work with trainer.precision=16-mixed, which needs the gradient; use null"
        )
    if trainer.get("max_steps") == -1 and trainer.get("max_epochs") in (None, -1):
        raise UserError("trainer.max_steps=-1: without a limit of steps trainer.max_epochs is needed; set it")
