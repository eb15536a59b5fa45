"""`data/degrade=bicubic`: MATLAB's antialiased bicubic, the degradation of nearly all published tables."""

from typing import ClassVar

from torch import Tensor, nn

from sr.image.resize import Border, imresize


class Bicubic(nn.Module):
    """uint8 or uint16 HR `[B, C, s·h, s·w]` -> LR `[B, C, h, w]` of this type, bit for bit MATLAB's; of float unrounded."""

    fixed: ClassVar[bool] = True  # nothing is random: the LR of a training image is computed once

    def __init__(self, scale: int, border: Border = "mirror") -> None:
        super().__init__()
        self.scale, self.border = scale, border

    def extra_repr(self) -> str:
        return f"scale={self.scale}, border={self.border}"

    def forward(self, hr: Tensor) -> Tensor:
        return imresize(hr, 1 / self.scale, border=self.border)
