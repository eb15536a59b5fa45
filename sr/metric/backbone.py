"""The published ImageNet networks that learned measures look through: their layers, and the way to their weights.

AlexNet (Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014) and VGG16 (Simonyan and
Zisserman, "Very deep convolutional networks …", 2014), as torchvision numbers their layers, so that its files load; not
through torchvision itself, whose wheel does not import beside a CPU-only torch. Only the convolutions are built.
"""

import hashlib
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from filelock import FileLock
from torch import Tensor, nn

from sr.error import UserError
from sr.fetch import fetch

SITE = "https://download.pytorch.org/models/"


class Published(NamedTuple):
    """One file of torchvision's; its checksum begins with the digits in its name."""

    file: str
    megabytes: int
    sha256: str
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


def vgg16() -> nn.Sequential:
    """`[B, 3, H, W]` -> `[B, 512, …]`; layers 0…30, a max-pooling after each of five stages."""
    layers: list[nn.Module] = []
    channels = 3
    for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


PUBLISHED = {
    "alex": Published(
        "alexnet-owt-7be5be79.pth", 244, "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02", alexnet
    ),
    "vgg": Published(
        "vgg16-397923af.pth", 553, "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0", vgg16
    ),
}


def trained(name: str, weights: str | None, measure: str) -> nn.Sequential:
    """The layers of `alex` or `vgg` with weights, ready to look and not to learn.

    `weights` is a file in torchvision's layout. Without one, PyTorch's own cache (TORCH_HOME) is used, where other
    tools may have put the file already; otherwise it is downloaded there. `measure` is named in errors.
    """
    published = PUBLISHED[name]
    given = Path(weights).expanduser() if weights else None
    path = given or _cached(published, measure)
    key = f"metric.also.{measure}.weights={path}"
    if not path.is_file():
        raise UserError(f"{key}: there is no such file; expected {published.file} from {SITE}{published.file}")
    if _sha256(path) != published.sha256:
        warnings.warn(f"{key} is not {published.file}: numbers of it cannot be compared with others'", stacklevel=2)
    net = published.build()
    _fill(net, path, key)
    return net.eval().requires_grad_(False)


def look(net: nn.Sequential, image: Tensor, taps: tuple[int, ...]) -> list[Tensor]:
    """What the net sees after each of the layers `taps`, full float32 on every device."""
    seen = []
    with torch.autocast(image.device.type, enabled=False), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        for k, layer in enumerate(net[: max(taps) + 1]):
            image = layer(image)
            if k in taps:
                seen.append(image)
    return seen


def three(image: Tensor) -> Tensor:
    """float32 RGB of `[B, 3 or 1, H, W]`: these networks know no gray, so it is given to them three times."""
    return image.float().expand(-1, 3, -1, -1)


def _cached(published: Published, measure: str) -> Path:
    path = Path(torch.hub.get_dir()) / "checkpoints" / published.file
    if path.exists():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):  # several runs that start at once fetch it once
            if not path.exists():
                fetch(SITE + published.file, path, published.sha256)
    except (UserError, OSError) as error:
        raise UserError(
            f"metric/also=[{measure}]: its weights ({published.file}, {published.megabytes} MB) are not there. {error}, "
            f"or anywhere else and give metric.also.{measure}.weights=PATH"
        ) from None
    return path


def _fill(net: nn.Sequential, path: Path, key: str) -> None:
    """Take `features.*` from the file, without running anything that may be in it."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        net.load_state_dict({k.removeprefix("features."): v for k, v in state.items() if k.startswith("features.")})
    except (pickle.UnpicklingError, RuntimeError, EOFError, AttributeError, KeyError, ValueError) as error:
        reason = str(error).strip().splitlines()
        raise UserError(
            f"{key}: not a file of this network's weights, or a damaged one ({reason[0] if reason else 'empty'})"
        ) from None
    except OSError as error:
        raise UserError(f"{key}: cannot be read ({error.strerror or error})") from None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
