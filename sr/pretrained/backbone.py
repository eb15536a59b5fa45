"""The pretrained networks of learned metrics and perceptual losses: their layers, and where their weights are found.

AlexNet (Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014) and VGG (Simonyan and
Zisserman, "Very deep convolutional networks …", 2014), with layers numbered as in torchvision, so that its files load.
torchvision itself is not used: its wheel cannot be imported with a CPU-only torch. Only the convolutional part is built.
"""

import pickle
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import safetensors.torch
import torch
from torch import Tensor, nn

from sr.pretrained.download import compute_sha256, download_file, lock_download
from sr.pretrained.state_dict import decode_file, find_misfit
from sr.runtime.error import UserError
from sr.runtime.precision import use_full_precision

SITE = "https://download.pytorch.org/models/"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's RGB, by which images are normalized

Widths = Sequence[Sequence[int]]  # of a VGG: channels of each convolution, in each stage


class PublishedFile(NamedTuple):
    """A weight file of torchvision; its name contains the first digits of its checksum."""

    file: str
    megabytes: int
    sha256: str  # all digits, or the first ones
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
    """Return a network of `PUBLISHED` with its weights, in eval mode and frozen.

    `weights` and `key` are those of `find_weight_file`.
    """
    path = find_weight_file(name, weights, key)
    with torch.device("meta"):
        net = PUBLISHED[name].build()
    return fill_layers(net, read_layers(path, key), path, key)


def find_weight_file(name: str, weights: str | None, key: str) -> Path:
    """Return the weight file of a network of `PUBLISHED`: `weights` if given, which may be another of that layout.

    Otherwise the file is taken from PyTorch's cache (TORCH_HOME), where other tools may have put it, or downloaded to it.
    `key` is the part's place in the config (`metric.also.lpips`), for messages.
    """
    published = PUBLISHED[name]
    path = Path(weights).expanduser() if weights else _find_in_cache(published, key)
    if not path.is_file():
        raise UserError(
            f"{key}.weights={path}: there is no such file; expected {published.file} from {SITE}{published.file}"
        )
    if not compute_sha256(path).startswith(published.sha256):
        warnings.warn(
            f"{key}.weights={path} is not {published.file}: its results cannot be compared with others", stacklevel=3
        )
    return path


def extract_features(net: nn.Sequential, image: Tensor, taps: Sequence[int]) -> list[Tensor]:
    """Return the outputs of the layers `taps`, computed in full float32 on every device."""
    with use_full_precision(image.device.type):
        return compute_taps(net, image, taps)


def compute_taps(net: nn.Sequential, image: Tensor, taps: Sequence[int]) -> list[Tensor]:
    """Return the outputs of the layers `taps`, in float32 in which a GPU may round products (TF32)."""
    outputs = {}
    with torch.autocast(image.device.type, enabled=False):
        for k, layer in enumerate(net[: max(taps) + 1]):
            image = layer(image)
            if k in taps:
                outputs[k] = image
    return [outputs[k] for k in taps]


def to_three_channels(image: Tensor) -> Tensor:
    """Return float32 RGB; gray is repeated to three channels: `[B, 3 or 1, H, W]` -> `[B, 3, H, W]`."""
    return image.float().expand(-1, 3, -1, -1)


def detect_widths(state: dict[str, Tensor]) -> Widths:
    """Return the widths of the VGG that these weights belong to, up to the last one; `[]` if they are not a VGG's.

    Between two convolutions there is a ReLU, or a ReLU and a pooling: `features.0`, `features.2`, `features.5` …
    """
    widths = {
        int(match[1]): len(value)
        for key, value in state.items()
        if (match := re.fullmatch(r"features\.(\d+)\.weight", key))
    }
    stages: list[list[int]] = [[]]
    expected = 0
    for index in sorted(widths):
        if index == expected + 1 and stages[-1]:  # after a pooling
            stages.append([])
        elif index != expected:
            return []
        stages[-1].append(widths[index])
        expected = index + 2
    return stages if widths else []


def read_layers(path: Path, key: str) -> dict[str, Tensor]:
    """Return the weights in a file by their names; nothing in the file is executed."""
    try:
        return {name: value for name, value in decode_file(path).items() if isinstance(value, Tensor)}
    except (
        pickle.UnpicklingError, RuntimeError, EOFError, AttributeError, KeyError, ValueError, safetensors.SafetensorError
    ) as error:  # fmt: skip
        reason = str(error).strip().splitlines()
        raise _make_error(path, key, reason[0] if reason else "empty") from None
    except UserError as error:
        raise UserError(f"{key}.weights={path}: {error}") from None
    except OSError as error:
        raise UserError(f"{key}.weights={path}: cannot be read ({error.strerror or error})") from None


def fill_layers(net: nn.Sequential, state: dict[str, Tensor], path: Path, key: str) -> nn.Sequential:
    """Load the weights `features.*` into `net`, which may be on the meta device, up to its last layer; freeze it."""
    weights = {name.removeprefix("features."): value for name, value in state.items() if name.startswith("features.")}
    weights = {name: value for name, value in weights.items() if int(re.match(r"\d*", name)[0] or 0) < len(net)}
    misfit = find_misfit(net, weights)
    if misfit:
        raise _make_error(path, key, str(misfit))
    net.load_state_dict({name: value.float() for name, value in weights.items()}, assign=True)
    return net.eval().requires_grad_(False)


def _make_error(path: Path, key: str, reason: str) -> UserError:
    return UserError(f"{key}.weights={path}: not a file of this network's weights, or a damaged one ({reason})")


def _find_in_cache(published: PublishedFile, key: str) -> Path:
    path = Path(torch.hub.get_dir()) / "checkpoints" / published.file
    if path.exists():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with lock_download(path):
            if not path.exists():
                download_file(SITE + published.file, path, published.sha256)
    except (UserError, OSError) as error:
        group, _, name = key.rpartition(".")
        raise UserError(
            f"{group.replace('.', '/')}=[{name}]: its weights ({published.file}, {published.megabytes} MB) are missing. "
            f"{error}, or anywhere else and give {key}.weights=PATH"
        ) from None
    return path
