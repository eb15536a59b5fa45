"""MATLAB's bicubic enlargement as a net: no parameters, the baseline every run is compared with."""

from torch import Tensor, nn

from sr.degrade.resize import imresize


class Bicubic(nn.Module):
    """Unclipped; rounding is left to who measures or writes."""

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, lr: Tensor) -> Tensor:
        return imresize(lr, self.scale)  # [B, C, h, w] -> [B, C, s·h, s·w]
