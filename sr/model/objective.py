"""What a net minimises: a weighted sum of terms, composed by `model/loss=[l1,fft]`."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Objective(nn.Module):
    """`Σ weight · term(sr, hr)`; a term maps two batches `[B, C, H, W]` in 0…1 to a scalar."""

    def __init__(self, terms: Mapping[str, nn.Module], weights: Mapping[str, float]) -> None:
        super().__init__()
        self.terms, self.weights = nn.ModuleDict(terms), dict(weights)

    def forward(self, sr: Tensor, hr: Tensor) -> dict[str, Tensor]:
        """Each term by name, not yet weighted."""
        return {name: term(sr, hr) for name, term in self.terms.items()}

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum."""
        return sum(self.weights[name] * term for name, term in terms.items())


def gradient_shares(terms: Mapping[str, Tensor], parameters: list[nn.Parameter]) -> dict[str, Tensor]:
    """How much each term pulls at the parameters: its gradient's norm over the sum of all norms, 0…1.

    Costs one backward pass for each term; the graph is kept.
    """
    norms = {}
    for name, term in terms.items():
        found = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
        norms[name] = torch.nn.utils.get_total_norm([g for g in found if g is not None])
    total = sum(norms.values()).clamp_min(1e-30)
    return {name: norm / total for name, norm in norms.items()}
