"""An exponential moving average of the net's weights, which is evaluated, saved and used instead of the last step's.

Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992.
"""

import copy

import torch
from torch import Tensor, nn

from sr.runtime.error import UserError


class EMA(nn.Module):
    """`average = decay · average + (1 - decay) · weights`, once a step.

    The decay rises from 0.1 as (1 + n) / (10 + n), so that the first, untrained weights soon lose their influence.
    Buffers (running means of a batch norm) are copied.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        super().__init__()
        if not 0 < decay < 1:
            raise UserError(f"model.ema={decay}: expected a decay between 0 and 1, such as 0.999, or null for none")
        self.net = copy.deepcopy(net).requires_grad_(False)
        self.decay, self.updates = decay, 0
        object.__setattr__(self, "_source", None)  # the net that was averaged last; not registered as a submodule

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        """Average in the net's weights after one more step."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        if self._source is not net:  # walking through all modules at each step would take time
            object.__setattr__(self, "_source", net)
            self._weights = list(self.net.parameters()), [p.detach() for p in net.parameters()]
            self._buffer_pairs = list(zip(self.net.buffers(), net.buffers(), strict=True))
        torch._foreach_lerp_(*self._weights, 1 - decay)
        for average, value in self._buffer_pairs:
            average.copy_(value)
        self.updates += 1

    def get_extra_state(self) -> Tensor:
        """Return the number of updates, which PyTorch saves in the state dict."""
        return torch.tensor(self.updates)

    def set_extra_state(self, state: Tensor) -> None:
        """Restore the number of updates from the state dict."""
        self.updates = int(state)
