"""The loss that a net minimizes: a weighted sum of terms, composed by `model/loss=[l1,fft]`."""

from collections.abc import Mapping

from torch import Tensor, nn


class Objective(nn.Module):
    """`Σ weight · term(sr, hr)`; a term maps two batches `[B, C, H, W]` in 0…1 to a scalar."""

    def __init__(self, terms: Mapping[str, nn.Module], weights: Mapping[str, float]) -> None:
        super().__init__()
        self.terms, self.weights = nn.ModuleDict(terms), dict(weights)

    def forward(self, sr: Tensor, hr: Tensor) -> dict[str, Tensor]:
        """Return each term by name, not yet weighted."""
        return {name: term(sr, hr) for name, term in self.terms.items()}

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum of what `forward` returned."""
        return sum(self.weights[name] * term for name, term in terms.items())
