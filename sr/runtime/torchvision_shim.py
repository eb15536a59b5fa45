"""Lets torchvision be imported beside a torch that it was not built for, as PyPI's wheel is beside a torch for CPUs.

There it cannot load its operators, and stops at the first mention of them ("operator torchvision::nms does not exist").
torchmetrics imports torchvision wherever it is installed, so that an optional package would break everything. Naming
the two operators beforehand is enough; none is ever called.
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


class BeforeTorchvision(importlib.abc.MetaPathFinder):
    """Finds nothing; it only sees torchvision coming."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> None:
        if fullname != "torchvision":
            return
        sys.meta_path.remove(self)
        found = PathFinder.find_spec(fullname)
        if found and not any(_loads(file) for file in Path(found.origin).parent.glob("_C.*")):
            _name_operators()


def _loads(file: Path) -> bool:
    import torch

    try:
        torch.ops.load_library(file)
    except OSError:
        return False
    return True


def _name_operators() -> None:
    from torch import library

    ours = library.Library("torchvision", "FRAGMENT")
    for operator in OPERATORS:
        ours.define(operator)
    BeforeTorchvision.kept = ours  # the operators live as long as it does


sys.meta_path.insert(0, BeforeTorchvision())
