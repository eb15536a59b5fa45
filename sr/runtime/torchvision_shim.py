"""Install a shim that makes `import torchvision` work next to a torch build that it was not compiled for.

PyPI's torchvision wheel next to a CPU-only torch cannot load its C++ operators, and its import fails with "operator
torchvision::nms does not exist". torchmetrics, and through it Lightning, imports torchvision wherever it is installed, so
an optional package would break every import. It is enough to declare the two operators that the import mentions; nothing
here ever calls them.

A module that imports Lightning, torchmetrics or spandrel imports this module before them (isort has a section of its own
for that), which installs the shim. It costs nothing until torchvision is imported.
"""

import importlib.abc
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


class TorchvisionFinder(importlib.abc.MetaPathFinder):
    """An import hook that finds no module itself: it declares the operators just before torchvision is imported."""

    library: Any = None  # torch.library.Library; the operators exist as long as this object

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> None:
        if fullname != "torchvision":
            return
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(fullname)
        if spec and not any(can_load_operators(file) for file in Path(spec.origin).parent.glob("_C.*")):
            TorchvisionFinder.library = declare_operators()


def install() -> None:
    """Install the import hook, unless it is installed already or torchvision has been imported."""
    is_declared = TorchvisionFinder.library is not None  # an import of torchvision that failed later leaves it so
    is_installed = any(isinstance(finder, TorchvisionFinder) for finder in sys.meta_path)
    if "torchvision" not in sys.modules and not is_installed and not is_declared:
        sys.meta_path.insert(0, TorchvisionFinder())


def can_load_operators(file: Path) -> bool:
    """Return True if torch can load torchvision's C++ library `file`."""
    import torch

    try:
        torch.ops.load_library(file)
    except OSError:
        return False
    return True


def declare_operators() -> Any:
    """Declare the operators' signatures to torch, without an implementation."""
    from torch import library

    fragment = library.Library("torchvision", "FRAGMENT")
    for operator in OPERATORS:
        fragment.define(operator)
    return fragment


install()
