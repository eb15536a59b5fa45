"""Which files stand behind `data=…`: those that train, those that measure, and LR files that exist already."""

from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from sr.data.benchmark import Benchmark
from sr.data.cifar10 import CIFAR10
from sr.data.folder import Folder, list_folder_images
from sr.data.module import SRDataModule, find_set, hr_folder, split_held_out
from sr.data.pair import PairFolder
from sr.data.sample import HELD_OUT, TRAIN, Sample
from sr.image.read import list_images
from sr.runtime.error import UserError


@dataclass
class Source:
    """Files by set. `lr` holds the LR files of a set of HR files, where there are some."""

    train: list[Path] = field(default_factory=list)
    sets: dict[str, list[Path]] = field(default_factory=dict)
    lr: dict[str, list[Path]] = field(default_factory=dict)
    patch: int = 0  # HR pixels; 0: nothing is trained


TRAINING = "training set"


def kind(config: dict[str, Any]) -> type[SRDataModule]:
    """The class that `data=…` chooses; it must be one whose files are known here, or be made from one of them."""
    module, _, name = config["data"]["_target_"].rpartition(".")
    chosen = getattr(import_module(module), name)
    if not issubclass(chosen, Folder | Benchmark | CIFAR10 | Sample):
        raise UserError(
            f"data: sr.inspect does not know where {module}.{name} has its files; give it their folder: "
            "data=folder data.path=DIR"
        )
    return chosen


def list_source(config: dict[str, Any], chosen: type[SRDataModule]) -> Source:
    """List the files; only a folder that is missing or empty is an error."""
    dials, found = config["data"], Source(patch=config["data"].get("patch", 0))
    names = list(dict.fromkeys([*dials["val"], *dials["test"]]))
    own = chosen.name in names
    if issubclass(chosen, Folder):
        _folder(found, chosen, dials, own)
    elif issubclass(chosen, Sample):
        import skimage  # here, because only this source needs it

        where = Path(skimage.__file__).parent / "data"
        found.train = [where / name for name in TRAIN]
        if own:
            stages = [stage for stage in HELD_OUT if chosen.name in dials[stage]]
            found.sets[chosen.name] = [where / name for stage in stages for name in HELD_OUT[stage]]
    for name in names:
        if name != chosen.name:
            _named(found, name, config, with_lr=issubclass(chosen, Benchmark))
    return found


def _folder(found: Source, chosen: type[SRDataModule], dials: dict[str, Any], own: bool) -> None:
    """`data.path`, or `data.hr` and `data.lr`; what the source holds out for itself is a set of its own."""
    paired = issubclass(chosen, PairFolder)
    path = dials.get("hr" if paired else "path")
    if not path or (paired and not dials["lr"]):
        needs = "two folders: data.lr=DIR data.hr=DIR" if paired else "the folder of your HR images: data.path=DIR"
        raise UserError(f"data={chosen.name} needs {needs}")
    if not paired:
        files = list_folder_images(path, dials.get("exclude"), Path(dials["root"]))
    else:
        files = list_images(Path(path).expanduser(), "data.hr")
        found.lr[TRAINING] = list_images(Path(dials["lr"]).expanduser(), "data.lr")
    train, held = split_held_out(len(files)) if own and len(files) > 1 else (range(len(files)), [])
    found.train = [files[i] for i in train]
    if held:
        found.sets[chosen.name] = [files[i] for i in held]


def _named(found: Source, name: str, config: dict[str, Any], with_lr: bool) -> None:
    """The set `name` under `paths.data`, or a path, as the sources themselves find it."""
    dials, root = config["data"], Path(config["data"]["root"])
    key = "data.test" if name in dials["test"] else "data.val"
    path = find_set(root, name, key)
    found.sets[path.name] = list_images(hr_folder(path), key)
    low = path / "LR_bicubic" / f"X{config['scale']}"
    if with_lr and low.is_dir():
        found.lr[path.name] = list_images(low, key)
