"""Find the option that is meant by a mistyped word, or by the name that it has elsewhere: `lr`, `batch_size`, `epochs`."""

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf

from sr.config.command_line import list_config_dirs, quote_override
from sr.config.schema import find_conf_dir

# Names of other projects, and the options of sr; the first one that the command has is meant.
SYNONYMS: dict[str, tuple[str, ...]] = {
    name: options
    for names, options in {
        "lr learning_rate learningrate base_lr": ("model.optimizer.lr",),
        "weight_decay wd": ("model.optimizer.weight_decay",),
        "batch_size batchsize batch bs n_batch": ("data.batch",),
        "epochs epoch max_epochs num_epochs n_epochs": ("trainer.max_epochs",),
        "steps max_steps num_steps iterations iters total_iter max_iter": ("trainer.max_steps",),
        "patch_size patchsize patch crop crop_size gt_size hr_size": ("data.patch",),
        "num_workers workers n_workers": ("data.workers",),
        "gpus gpu num_gpus n_gpus devices": ("trainer.devices", "device"),
        "device accelerator cuda use_cuda": ("device", "trainer.accelerator"),
        "precision amp fp16 bf16": ("trainer.precision",),
        "grad_clip clip gradient_clip clip_grad": ("trainer.gradient_clip_val",),
        "val_interval eval_interval val_every val_freq": ("trainer.val_check_interval",),
        "upscale upscaling scale_factor factor": ("scale",),
        "net network arch architecture generator backbone": ("model/net",),
        "discriminator": ("model/discriminator",),
        "loss criterion losses": ("model/loss",),
        "optimizer optim": ("model/optimizer",),
        "scheduler lr_scheduler schedule": ("model/schedule",),
        "degradation degrade": ("data/degrade",),
        "augment augmentation aug": ("data/augment",),
        "metrics": ("metric/also",),
        "train_data data_dir datadir data_path dataset_path train_dir": ("data.path",),
        "dataset datasets": ("data",),
        "dataroot data_root root": ("paths.data",),
        "test_set test_sets testset test_data": ("data.test",),
        "val_set val_sets valset val_data": ("data.val",),
        "out output out_dir output_dir outdir save_dir log_dir logdir run_dir save_path results":
            ("output", "out", "paths.runs"),
        "image images img file files photo": ("input", "images"),
        "weights pretrained pretrain ckpt ckpt_path model_path checkpoint": ("checkpoint", "model.init"),
        "experiment_name exp_name exp": ("track.experiment",),
        "tracking_uri mlflow_uri uri": ("track.uri",),
        "random_seed": ("seed",),
    }.items()
    for name in names.split()
}  # fmt: skip
SYNONYMS_OF_VALUES = {("trainer.accelerator", "cuda"): "gpu", ("trainer.accelerator", "true"): "gpu"}
SIMILARITY = 0.6  # of two names, 0…1, from which on one may be a mistyped form of the other
MAX_CHOICES_SHOWN = 4


def suggest_words(key: str, value: str | None, keys: Sequence[str]) -> str:
    """Return what to type instead of `key=value`: `model.optimizer.lr=1e-3` for `lr=1e-3`; an empty string if unknown.

    `keys` are the options that there are (`list_valid_keys`).
    """
    option = find_synonym(key, keys)
    if option is None:
        return ""
    value = SYNONYMS_OF_VALUES.get((option, str(value).lower()), value)
    more = " trainer.max_steps=-1" if option == "trainer.max_epochs" else ""
    return f"{option}={'…' if value is None else value}{more}"


def explain_unknown_key(key: str, value: str, command: str, words: Sequence[str]) -> str:
    """Return the message for an option that the composed config of a command does not have."""
    choices = _list_choices_with(key, [find_conf_dir(), *_list_folders(words)])
    if choices:
        shown = ", ".join(choices[:MAX_CHOICES_SHOWN]) + ", …" * (len(choices) > MAX_CHOICES_SHOWN)
        advice = f"add {choices[0]}" if len(choices) == 1 else "choose one that has it"
        advice = "for photographs add data=folder" if "data=folder" in choices[1:] else advice
        return f"{key}: this is an option of {shown}, which is not chosen; {advice}"
    keys = list_valid_keys(command, words)
    suggestion = suggest_words(key, value, keys)
    if suggestion:
        return f'there is no option "{key}"; type {suggestion}'
    nearest = find_nearest_key(key, keys)
    question = f' Did you mean "{nearest}"?' if nearest else ""
    return f'there is no option or group "{key}".{question} See --help'


def find_synonym(key: str, keys: Sequence[str]) -> str | None:
    """Return the option of sr that `key` means: by its last name in `SYNONYMS`, or if one option alone has that name."""
    name = _last_name(key)
    known = [option for option in SYNONYMS.get(name, ()) if option in keys]
    same = [option for option in keys if _last_name(option) == name and option != key]
    same = [option for option in same if "." not in key or _compare(key, option) >= SIMILARITY]
    if known:
        return known[0]
    return same[0] if len(same) == 1 else None


def find_nearest_key(key: str, keys: Sequence[str]) -> str | None:
    """Return the option most similar to `key`, as a whole or in its last name; None if none is similar."""

    def similarity(option: str) -> float:
        return max(_compare(key, option), 0.9 * _compare(_last_name(key), _last_name(option)))

    nearest = max(keys, key=similarity, default=None)
    return nearest if nearest and similarity(nearest) >= SIMILARITY else None


def _compare(a: str, b: str) -> float:
    return difflib.SequenceMatcher(None, a.lower(), b.lower()).ratio()


def _last_name(key: str) -> str:
    return re.split(r"[./]", key)[-1].lower().replace("-", "_")


def _list_folders(words: Sequence[str]) -> list[Path]:
    """Return the folders of `--config-dir`."""
    return [Path(option.partition("=")[2]).resolve() for option in list_config_dirs(words)]


def _list_choices_with(key: str, folders: Sequence[Path]) -> list[str]:
    """Return the choices that have the option `key`, as they are typed: `data=folder` for `data.path`."""
    path, found = key.split("."), []
    for length in range(len(path) - 1, 0, -1):
        for folder in (folder.joinpath(*path[:length]) for folder in folders):
            for file in sorted(folder.glob("[!_]*.yaml")):
                if _has_option(file, path[length:]):
                    is_list = file.stem == path[length] and len(path) > length + 1  # model/loss: parts by name
                    found.append(f"{'/'.join(path[:length])}={f'[…,{file.stem}]' if is_list else file.stem}")
    return found


def _has_option(file: Path, path: Sequence[str]) -> bool:
    """Return True if a YAML, or one of the same folder that it begins with, has a value at `path`."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError):
        return False
    node: Any = content
    for name in path:
        node = node.get(name, KeyError) if isinstance(node, dict) else KeyError
    bases = [name for name in content.get("defaults") or [] if isinstance(name, str) and name != "_self_"]
    return node is not KeyError or any(_has_option(file.with_name(f"{base}.yaml"), path) for base in bases)


def list_valid_keys(command: str, words: Sequence[str]) -> list[str]:
    """List the groups and options that can be set under the valid choices among `words`."""
    GlobalHydra.instance().clear()
    folders = [find_conf_dir(), *_list_folders(words)]
    home = next((folder for folder in folders if (folder / f"{command}.yaml").exists()), folders[0])
    search_path = f"hydra.searchpath=[{','.join(quote_override(f'file://{folder}') for folder in folders)}]"
    paths = {path.relative_to(folder) for folder in folders for path in folder.rglob("*") if path.is_dir()}
    groups = sorted(str(path) for path in paths if path.parts[0] != "hydra")
    choices = [word for word in words if re.fullmatch(r"[\w/]+=\w+", word) and word.split("=")[0] in groups]
    with hydra.initialize_config_dir(str(home), version_base="1.3"):
        try:
            cfg = hydra.compose(command, [*choices, search_path])
        except HydraException:  # a choice is invalid, too; it is reported once this key is right
            cfg = hydra.compose(command, [search_path])
    return [*groups, *_list_keys(OmegaConf.to_container(cfg, resolve=False))]


def _list_keys(node: dict[str, Any], prefix: str = "") -> list[str]:
    """List the dotted keys of a nested config, those of groups included."""
    keys = []
    for name, value in node.items():
        keys.append(f"{prefix}{name}")
        if isinstance(value, dict):
            keys += _list_keys(value, f"{prefix}{name}.")
    return keys
