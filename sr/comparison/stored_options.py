"""Read the options and the image sets that the folder of a run has stored, and find the training of a checkpoint."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from sr.comparison.method import list_method_options
from sr.config.changed_options import name_group
from sr.pretrained.networks import find_network
from sr.record.run_folder import CHOICES_FILE, CONFIG_FILE
from sr.runtime.error import UserError

try:
    from yaml import CSafeLoader as SafeLoader  # ten times faster
except ImportError:
    from yaml import SafeLoader

INIT = "model.init"
_DATA_FILE = re.compile(r"data(?:\.(\d+))?\.json")


def find_training(folder: Path, checkpoint: str | None) -> Path | None:
    """Return the folder of the training that a checkpoint is of, or None if it is not on this machine.

    `folder` is that of the evaluation: the path of the checkpoint may be relative to where that was typed, or both runs
    were moved together.
    """
    if checkpoint is None or find_network(checkpoint):
        return None
    path = Path(checkpoint).expanduser()
    places = [path.parent, folder.parent / path.parent.name]
    environment = folder / "environment.yaml"
    if not path.is_absolute() and environment.exists():
        places.insert(0, Path(str(read_yaml(environment).get("folder"))) / path.parent)
    return next((place for place in places if "model" in read_choices(place / CHOICES_FILE)), None)


def read_image_sets(folder: Path, context: str) -> dict[str, dict[str, Any]]:
    """Return what a run's data.json says about the sets of `train`, `val` or `test`, that of its last attempt, by name.

    Empty if there is no such file.
    """
    numbers = {
        path: int(match[1] or 1) for path in folder.glob("data*.json") if (match := _DATA_FILE.fullmatch(path.name))
    }
    if not numbers:
        return {}
    file = max(numbers, key=lambda path: numbers[path])
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return dict(content.get(context, {}))
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise UserError(f"{file}: expected the fingerprints of image sets ({error})") from None


def list_training_options(folder: Path, config: dict[str, Any], choices: dict[str, str]) -> dict[str, str]:
    """Return the options that define a method, with a digest of the training images: a folder's content may change."""
    digests = [data["digest"][:8] for data in read_image_sets(folder, "train").values() if "digest" in data]
    options = list_method_options(config, choices) | ({"data.digest": "+".join(digests)} if digests else {})
    return options | ({INIT: _describe_init(Path(options[INIT]).expanduser())} if INIT in options else {})


def _describe_init(path: Path) -> str:
    """Return what a training began with: of a run's weights its method, for each seed of a GAN may begin with its own CNN."""
    folder = path if path.is_dir() else path.parent
    choices = read_choices(folder / CHOICES_FILE)
    if "model" not in choices:
        return str(path)
    options = list_method_options(read_yaml(folder / CONFIG_FILE), choices)
    digest = hashlib.sha256(repr(sorted(options.items())).encode()).hexdigest()[:4]
    return " ".join([options[key] for key in ("model.net", "model.loss") if key in options] + [f"#{digest}"])


def read_seed(config: Mapping[str, Any]) -> int | None:
    seed = config.get("seed")
    if not isinstance(seed, int | None):
        raise UserError(f"{CONFIG_FILE}: expected a whole number as seed (found {seed!r})")
    return seed


def read_yaml(file: Path) -> dict[str, Any]:
    """Return the content of a YAML; empty if there is no such file."""
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), Loader=SafeLoader)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{file}: expected options in YAML ({str(error).splitlines()[0]})") from None
    if not isinstance(content, dict):
        raise UserError(f"{file}: expected options in YAML (found {type(content).__name__})")
    return content


def read_choices(file: Path) -> dict[str, str]:
    """Return the choices of the config groups by the option that holds each: `{"model.net": "espcn"}`."""
    return {
        name_group(group): str(choice) for group, choice in read_yaml(file).items() if not group.startswith("hydra/")
    }
