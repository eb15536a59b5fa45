"""An exponential moving average of the net's weights (Polyak and Juditsky, "Acceleration of stochastic approximation by
averaging", 1992): what is measured, kept and used in place of the last step's.
"""

import copy

import torch
from torch import Tensor, nn

from sr.error import UserError


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

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        """Take in the weights of one more step."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        values = [p.detach() for p in net.parameters()]
        torch._foreach_lerp_(list(self.net.parameters()), values, 1 - decay)
        for average, value in zip(self.net.buffers(), net.buffers(), strict=True):
            average.copy_(value)
        self.updates += 1

    def get_extra_state(self) -> Tensor:
        """PyTorch's hook: what the state dict holds besides weights."""
        return torch.tensor(self.updates)

    def set_extra_state(self, state: Tensor) -> None:
        """The way back."""
        self.updates = int(state)
