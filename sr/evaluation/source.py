"""Check what an evaluation evaluates: a net or result images, on sets with HR or without, before torch is imported."""

from collections.abc import Iterable
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from sr.checkpoint.interpolate import check_options
from sr.checkpoint.members import OPTION, list_members
from sr.config import schema
from sr.pretrained.networks import resolve_checkpoint
from sr.runtime.error import UserError
from sr.track.run_address import is_address

FOLDERS = ("images", "input")  # the options that name one
NETS = ("checkpoint", "interpolate", OPTION)  # those that name the weights of a net
DATA = ("data=", "data.", "data/")  # the beginnings of words that choose a set
NEEDS_HR = (
    "metric=",
    "metric.",
    "profile",
    "published",
    "against",
    "uncertainty",
    *DATA,
)  # words that mean nothing without HR


def check_source(cfg: DictConfig, has_net: bool) -> None:
    """Raise unless exactly one thing is evaluated, and every file that is named exists."""
    has_images, has_checkpoint = cfg.images is not None, cfg.checkpoint is not None
    excluded = {
        "checkpoint and model/net": has_checkpoint or has_net,
        "input": cfg.input is not None,
        "ensemble and tile": cfg.ensemble or cfg.tile is not None,
        "uncertainty": cfg.uncertainty is not False,
        "interpolate and alpha": cfg.interpolate is not None,
        "profile": "profile" in cfg,
    }
    for options, are_given in excluded.items():
        if has_images and are_given:
            raise UserError(f"images={cfg.images}: result images are evaluated as they are; leave {options} out")
    check_options(cfg)
    if not (has_images or has_checkpoint or has_net):
        raise UserError("expected one of checkpoint=FILE, images=FOLDER or model/net=bicubic (found none); see --help")
    if cfg.data.get("test") is not None and not len(cfg.data.test):
        raise UserError("data.test=[]: expected the names of the sets to evaluate, such as data.test=[Set5,Set14]")
    members = list_members(schema.to_plain(cfg)["uncertainty"])
    if members and not has_checkpoint:
        raise UserError(f"uncertainty={members[0]}: expected the checkpoint to compare with as well, checkpoint=FILE")
    files = [(key, cfg[key]) for key in ("checkpoint", "interpolate", *FOLDERS, "against") if cfg[key] is not None]
    for key, file in [*files, *((OPTION, member) for member in members)]:
        if not (key in NETS and is_address(str(file))):
            is_net = key in NETS
            path = resolve_checkpoint(file, key) if is_net else Path(file).expanduser()
            if not path.exists():
                raise UserError(f"{key}={file}: there is no such {'folder' if key in FOLDERS else 'file'}")


def check_scale(cfg: DictConfig, has_net: bool) -> None:
    """Raise if nothing says the scale: of result images only the user knows it."""
    if cfg.scale is None and (cfg.checkpoint is None or has_net):
        scales = ", ".join(map(str, schema.SCALES))
        without = "; images without HR need none: metric/also=[niqe]" if cfg.images is not None else ""
        raise UserError(f"missing: scale=… ({scales}); only a checkpoint brings its own{without}")


def is_without_hr(cfg: DictConfig, words: Iterable[str]) -> bool:
    """Return whether there is no HR: LR images in `input`, or result images, no set typed, and metrics that need none.

    `words` are the overrides of the command line.
    """
    if cfg.input is not None:
        return True
    if cfg.images is None or any(word.startswith(DATA) for word in words):
        return False
    return bool(cfg.metric.also) and not _list_metrics_with_hr(cfg)


def check_without_hr(cfg: DictConfig, words: Iterable[str], has_net: bool) -> None:
    """Raise if an option is typed that means nothing without HR."""
    folder = f"input={cfg.input}" if cfg.input is not None else f"images={cfg.images}"
    for word in words:
        if word.startswith(NEEDS_HR) and not word.startswith("metric.also."):
            raise UserError(f"{word}: this option needs HR, which {folder} has not; leave one of them out")
    others = _list_metrics_with_hr(cfg)
    if others or not cfg.metric.also:
        found = ", ".join(others) or "none"
        raise UserError(f"{folder}: expected metrics that need no HR, such as metric/also=[niqe] (found {found})")
    if cfg.input is not None:
        check_scale(cfg, has_net)


def _list_metrics_with_hr(cfg: DictConfig) -> list[str]:
    """Return the names in `metric.also` of the metrics that need HR. It builds none: some load weights."""
    from hydra.utils import get_object  # imports the class, and with it torch

    nodes = OmegaConf.to_container(cfg.metric.also)
    return [key for key, node in nodes.items() if getattr(get_object(node["_target_"]), "needs_reference", True)]
