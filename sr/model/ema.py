"""An exponential moving average of the net's weights (Polyak and Juditsky, "Acceleration of stochastic approximation by
averaging", 1992): what is measured, kept and used in place of the last step's.
"""

import copy

import torch
from torch import Tensor, nn

from sr.runtime.error import UserError


class EMA(nn.Module):
    """`average = decay · average + (1 - decay) · weights`, once a step.

    The decay rises from 0.1 as (1 + n) / (10 + n), so that the first, untrained weights are soon forgotten. Buffers
    (running means of a batch norm) are copied.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        super().__init__()
        if not 0 < decay < 1:
            raise UserError(f"model.ema={decay}: expected a decay between 0 and 1, such as 0.999, or null for none")
        self.net = copy.deepcopy(net).requires_grad_(False)
        self.decay, self.updates = decay, 0
        object.__setattr__(self, "_known", None)  # the net that was averaged last: no part of this module

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        """Take in the weights of one more step."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        if self._known is not net:  # walking through all modules takes its time, each step
            object.__setattr__(self, "_known", net)
            self._weights = list(self.net.parameters()), [p.detach() for p in net.parameters()]
            self._buffers_of = list(zip(self.net.buffers(), net.buffers(), strict=True))
        torch._foreach_lerp_(*self._weights, 1 - decay)
        for average, value in self._buffers_of:
            average.copy_(value)
        self.updates += 1

    def get_extra_state(self) -> Tensor:
        """PyTorch's hook: what the state dict holds besides weights."""
        return torch.tensor(self.updates)

    def set_extra_state(self, state: Tensor) -> None:
        """The way back."""
        self.updates = int(state)
