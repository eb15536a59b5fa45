"""`precision=bf16`: a network whose products are computed in bfloat16, which has 8 bits of mantissa instead of float32's 24."""

import torch
from torch import Tensor, nn


class Bf16Net(nn.Module):
    """Computes convolutions and matrix products of `net` in bfloat16, by autocast; input, weights and output stay float32."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.scale, self.channels = net, net.scale, net.channels
        self.receptive_field = getattr(net, "receptive_field", None)
        self.depends_on_size = getattr(net, "depends_on_size", False)

    def forward(self, lr: Tensor) -> Tensor:
        with torch.autocast(lr.device.type, torch.bfloat16):
            return self.net(lr).float()
