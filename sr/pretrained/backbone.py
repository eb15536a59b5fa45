"""The trained networks that learned measures and perceptual losses look through: their layers, and the way to their weights.

AlexNet (Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014) and VGG (Simonyan and
Zisserman, "Very deep convolutional networks …", 2014), as torchvision numbers their layers, so that its files load; not
through torchvision itself, whose wheel does not import beside a CPU-only torch. Only the convolutions are built.
"""

import hashlib
import pickle
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import safetensors.torch
import torch
from filelock import FileLock
from torch import Tensor, nn

from sr.pretrained.download import download_file
from sr.pretrained.state_dict import find_misfit
from sr.runtime.error import UserError
from sr.runtime.precision import use_full_precision

SITE = "https://download.pytorch.org/models/"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's RGB, by which pictures are normalised

Widths = Sequence[Sequence[int]]  # of a VGG: channels of each convolution, by stage


class PublishedFile(NamedTuple):
    """One file of torchvision's; its checksum begins with the digits in its name."""

    file: str
    megabytes: int
    sha256: str  # whole, or its first digits
    build: Callable[[], nn.Sequential]


def alexnet() -> nn.Sequential:
    """`[B, 3, H, W]` -> `[B, 256, …]`; layers 0…12."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
    )  # fmt: skip


def vgg(widths: Widths) -> nn.Sequential:
    """`[B, 3, H, W]` -> `[B, C, …]`: 3×3 convolutions, each with a ReLU, and a max-pooling after each stage."""
    layers: list[nn.Module] = []
    channels = 3
    for stage in widths:
        for width in stage:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


def vgg16() -> nn.Sequential:
    """Layers 0…30."""
    return vgg([[64] * 2, [128] * 2, [256] * 3, [512] * 3, [512] * 3])


def vgg19() -> nn.Sequential:
    """Layers 0…36."""
    return vgg([[64] * 2, [128] * 2, [256] * 4, [512] * 4, [512] * 4])


PUBLISHED = {
    "alex": PublishedFile(
        "alexnet-owt-7be5be79.pth", 244, "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02", alexnet
    ),
    "vgg": PublishedFile(
        "vgg16-397923af.pth", 553, "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0", vgg16
    ),
    "vgg19": PublishedFile("vgg19-dcbb9e9d.pth", 575, "dcbb9e9d", vgg19),
}


def load_backbone(name: str, weights: str | None, key: str) -> nn.Sequential:
    """The layers of one of `PUBLISHED` with weights, ready to look and not to learn; see `find` for `weights`, `key`."""
    path = find_weight_file(name, weights, key)
    with torch.device("meta"):
        net = PUBLISHED[name].build()
    return fill_layers(net, read_layers(path, key), path, key)


def find_weight_file(name: str, weights: str | None, key: str) -> Path:
    """The file of one of `PUBLISHED`: `weights`, where given, which may be another of that layout.

    Without one, PyTorch's own cache (TORCH_HOME) is used, where other tools may have put the file already; otherwise it
    is downloaded there. `key` is the part's place in the config (`metric.also.lpips`), for errors.
    """
    published = PUBLISHED[name]
    path = Path(weights).expanduser() if weights else _cached(published, key)
    if not path.is_file():
        raise UserError(
            f"{key}.weights={path}: there is no such file; expected {published.file} from {SITE}{published.file}"
        )
    if not _sha256(path).startswith(published.sha256):
        warnings.warn(
            f"{key}.weights={path} is not {published.file}: numbers of it cannot be compared with others'", stacklevel=3
        )
    return path


def extract_features(net: nn.Sequential, image: Tensor, taps: Sequence[int]) -> list[Tensor]:
    """What the net sees after each of the layers `taps`, full float32 on every device."""
    with use_full_precision(image.device.type):
        return compute_taps(net, image, taps)


def compute_taps(net: nn.Sequential, image: Tensor, taps: Sequence[int]) -> list[Tensor]:
    """What the net sees after each of the layers `taps`, in float32, whose products a GPU may round (TF32)."""
    seen = {}
    with torch.autocast(image.device.type, enabled=False):
        for k, layer in enumerate(net[: max(taps) + 1]):
            image = layer(image)
            if k in taps:
                seen[k] = image
    return [seen[k] for k in taps]


def to_three_channels(image: Tensor) -> Tensor:
    """float32 RGB of `[B, 3 or 1, H, W]`: these networks know no gray, so it is given to them three times."""
    return image.float().expand(-1, 3, -1, -1)


def widths_of(state: dict[str, Tensor]) -> Widths:
    """The VGG that these weights belong to, cut off where they end; nothing where they are not numbered as a VGG's.

    Between two convolutions lies a ReLU, or a ReLU and a pooling: `features.0`, `features.2`, `features.5` …
    """
    found = {
        int(m[1]): len(value) for key, value in state.items() if (m := re.fullmatch(r"features\.(\d+)\.weight", key))
    }
    stages: list[list[int]] = [[]]
    at = 0
    for number in sorted(found):
        if number == at + 1 and stages[-1]:  # after a pooling
            stages.append([])
        elif number != at:
            return []
        stages[-1].append(found[number])
        at = number + 2
    return stages if found else []


def read_layers(path: Path, key: str) -> dict[str, Tensor]:
    """The weights in a file, by name, without running anything that may be in it."""
    try:
        if path.suffix == ".safetensors":
            state = safetensors.torch.load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
        return {name: value for name, value in state.items() if isinstance(value, Tensor)}
    except (
        pickle.UnpicklingError, RuntimeError, EOFError, AttributeError, KeyError, ValueError, safetensors.SafetensorError
    ) as error:  # fmt: skip
        reason = str(error).strip().splitlines()
        raise _alien(path, key, reason[0] if reason else "empty") from None
    except OSError as error:
        raise UserError(f"{key}.weights={path}: cannot be read ({error.strerror or error})") from None


def fill_layers(net: nn.Sequential, state: dict[str, Tensor], path: Path, key: str) -> nn.Sequential:
    """Put `features.*` into `net`, which may lie on the meta device; those of layers after its last are left out."""
    ours = {name.removeprefix("features."): value for name, value in state.items() if name.startswith("features.")}
    ours = {name: value for name, value in ours.items() if int(re.match(r"\d*", name)[0] or 0) < len(net)}
    wrong = find_misfit(net, ours)
    if wrong:
        raise _alien(path, key, str(wrong))
    net.load_state_dict({name: value.float() for name, value in ours.items()}, assign=True)
    return net.eval().requires_grad_(False)


def _alien(path: Path, key: str, reason: str) -> UserError:
    return UserError(f"{key}.weights={path}: not a file of this network's weights, or a damaged one ({reason})")


def _cached(published: PublishedFile, key: str) -> Path:
    path = Path(torch.hub.get_dir()) / "checkpoints" / published.file
    if path.exists():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):  # several runs that start at once fetch it once
            if not path.exists():
                download_file(SITE + published.file, path, published.sha256)
    except (UserError, OSError) as error:
        group, _, name = key.rpartition(".")
        raise UserError(
            f"{group.replace('.', '/')}=[{name}]: its weights ({published.file}, {published.megabytes} MB) are not there. "
            f"{error}, or anywhere else and give {key}.weights=PATH"
        ) from None
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
