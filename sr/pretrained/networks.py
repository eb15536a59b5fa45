"""Networks that are used by name, `checkpoint=NAME`; without importing torch.

Each is a card `weights/NAME.yaml`, whose keys are the fields of `Network`. Its weights lie next to the card, or in a Python
package that an extra of sr installs. Adding a network takes these files and nothing else.
"""

import importlib.util
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import yaml

from sr.runtime.error import UserError, suggest_nearest

FOLDER = Path(__file__).parent / "weights"
SEE_MODELS = "python -m sr.predict --models lists all networks"


@dataclass(frozen=True)
class Network:
    """The card of a network: what it is, what it is good for, and where its weights are."""

    name: str
    scale: int
    net: str  # as in model/net=NET
    parameters: int
    megabytes: float  # of the weight file
    license: str  # of the weights
    purpose: str  # what it is good for, in a few words
    file: str  # next to the card, or a path inside `package`
    psnr: dict[str, float] = field(default_factory=dict)  # of evaluation sets, under the protocol edsr
    package: str | None = None  # Python package that holds the file; None: next to the card
    extra: str | None = None  # of sr, which installs the package

    def find_file(self) -> Path | None:
        """Return the path of the weights; None if their package is not installed. The package is not imported."""
        if self.package is None:
            return FOLDER / self.file
        spec = importlib.util.find_spec(self.package)
        path = Path(spec.submodule_search_locations[0]) / self.file if spec else None
        return path if path and path.exists() else None


@lru_cache
def list_networks() -> tuple[Network, ...]:
    """Return all networks: by package, those of sr first, then by name."""
    cards = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in FOLDER.glob("*.yaml")}
    networks = [Network(name=name, **card) for name, card in cards.items()]
    return tuple(sorted(networks, key=lambda network: (network.package or "", network.name)))


def find_network(word: str) -> Network | None:
    """Return the network of this name, or None."""
    return next((network for network in list_networks() if network.name == word), None)


def find_default(scale: int) -> Network:
    """Return the network of sr itself for a scale, which is used if no checkpoint is given."""
    packaged = {network.scale: network for network in list_networks() if network.package is None}
    if scale not in packaged:
        scales = ", ".join(map(str, sorted(packaged))) or "none"
        raise UserError(f"scale={scale}: sr has a network of its own for scale={scales}; give another: checkpoint=FILE")
    return packaged[scale]


def resolve_checkpoint(word: str | Path, option: str = "checkpoint") -> Path:
    """Return the path of the weights of a network, or of a file or folder that is no network's name.

    A `Path`, as `./NAME` in a text, is always a file. Raise if the network's package is not installed, or if a text that can
    only be a mistyped name is neither a network nor a file; other files need not exist.
    """
    network = find_network(word) if isinstance(word, str) else None
    if network is None:
        path = Path(word).expanduser()
        if isinstance(word, str) and _is_name(word) and not path.exists():
            nearest = suggest_nearest(word, [network.name for network in list_networks()])
            raise UserError(
                f"{option}={word}: there is no such file, and no network of this name.{nearest} {SEE_MODELS}"
            )
        return path
    path = network.find_file()
    if path is None:
        raise UserError(
            f"{option}={word}: the weights of this network are not installed; type: pip install 'sr[{network.extra}]'"
        )
    return path


def _is_name(word: str) -> bool:
    """Return True for a word that is no path: without a folder and a suffix."""
    return word.isascii() and word.replace("_", "").replace("-", "").isalnum()
