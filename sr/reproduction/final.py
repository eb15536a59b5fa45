"""The weights that two runs ended with, tensor by tensor."""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sr.pretrained.state_dict import State, read_weights
from sr.record.checkpoint_files import list_final
from sr.reproduction.points import CLOSE, EQUAL, OTHER, Outcome


def compare(there: Path, here: Path, tolerance: float) -> list[Outcome]:
    """One outcome a file that both have."""
    both = [path.name for path in list_final(there) if (here / path.name).is_file()]
    return [
        _outcome(name, *(_tensors(read_weights(folder / name)) for folder in (there, here)), tolerance) for name in both
    ]


def _tensors(content: dict[str, Any]) -> State:
    state = content.get("state_dict", content)
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def _outcome(file: str, there: State, here: State, tolerance: float) -> Outcome:
    kind, gap, where = EQUAL, 0.0, ""
    for name in {**there, **here}:
        if name not in there or name not in here or there[name].shape != here[name].shape:
            return Outcome(file, OTHER, len(there), gap, f"{name} is of other size, or in one of them only")
        a, b = there[name], here[name]
        if same(a, b):
            continue
        apart = _apart(a.double(), b.double())
        if apart >= gap:
            gap, where = apart, f"most in {name}"
        kind = OTHER if apart > tolerance or kind == OTHER else CLOSE
    return Outcome(file, kind, len(there), gap, where)


def same(a: Tensor, b: Tensor) -> bool:
    """To the last bit, NaN included."""
    if a.dtype != b.dtype:
        return False
    one, other = (x.contiguous().flatten().view(torch.uint8) if x.numel() else x for x in (a, b))
    return torch.equal(one, other)


def _apart(a: Tensor, b: Tensor) -> float:
    """The largest difference, as a share of the largest weight."""
    largest = max(a.abs().max().item(), b.abs().max().item())
    gap = (a - b).abs().max().item()
    if gap == 0:  # zeros of other signs
        return 0.0
    return gap / largest if math.isfinite(gap) else math.inf
