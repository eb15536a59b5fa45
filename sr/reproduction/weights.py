"""Compare the weights that two runs ended with, tensor by tensor."""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sr.pretrained.state_dict import State, read_weights
from sr.record.checkpoint_files import list_final
from sr.reproduction.outcome import CLOSE, DIFFERENT, EQUAL, Outcome


def compare_weights(original: Path, repetition: Path, tolerance: float) -> list[Outcome]:
    """Return one outcome for each checkpoint that the run still has; one that its repetition lacks is different.

    A run whose folder has none, as one that was downloaded, gets no outcome.
    """
    return [_compare_files(path, repetition / path.name, tolerance) for path in list_final(original)]


def _compare_files(original: Path, repetition: Path, tolerance: float) -> Outcome:
    first = _select_tensors(read_weights(original))
    if not repetition.is_file():
        return Outcome(original.name, DIFFERENT, len(first), detail="only in the run, not in its repetition")
    return _compare_states(original.name, first, _select_tensors(read_weights(repetition)), tolerance)


def _select_tensors(content: dict[str, Any]) -> State:
    state = content.get("state_dict", content)
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def _compare_states(file: str, original: State, repetition: State, tolerance: float) -> Outcome:
    kind, largest, detail = EQUAL, 0.0, ""
    for name in {**original, **repetition}:
        a, b = original.get(name), repetition.get(name)
        if a is None or b is None or a.shape != b.shape:
            detail = f"{name} has another size, or is only in one of them"
            return Outcome(file, DIFFERENT, len(original), largest, detail)
        if is_equal(a, b):
            continue
        difference = _compute_difference(a.double(), b.double())
        if difference >= largest:
            largest, detail = difference, f"most in {name}"
        kind = DIFFERENT if difference > tolerance or kind == DIFFERENT else CLOSE
    return Outcome(file, kind, len(original), largest, detail)


def is_equal(a: Tensor, b: Tensor) -> bool:
    """Compare two tensors of one shape to the last bit, NaN included."""
    if a.dtype != b.dtype:
        return False
    first, second = (x.contiguous().flatten().view(torch.uint8) if x.numel() else x for x in (a, b))
    return torch.equal(first, second)


def _compute_difference(a: Tensor, b: Tensor) -> float:
    """Return the largest difference as a share of the largest absolute weight."""
    largest = max(a.abs().max().item(), b.abs().max().item())
    difference = (a - b).abs().max().item()
    if difference == 0:  # zeros of opposite signs
        return 0.0
    return difference / largest if math.isfinite(difference) else math.inf
