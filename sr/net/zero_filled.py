"""Zero-filled k-space: the interpolation that scanners use for MR, as a net without parameters.

The frequencies that were not measured are zero (Bernstein, King and Zhou, "Handbook of MRI Pulse Sequences", 2004, section
13.1). Of an LR that `data/degrade=kspace` made, it gives back all of k-space that is left; what differs from HR is missing.
"""

from torch import Tensor, nn

from sr.image.kspace import resize_kspace


class ZeroFilled(nn.Module):
    """The magnitude of the interpolated image: no value is negative."""

    architecture = "Zero-filled"  # the name in tables
    receptive_field = None
    depends_on_size = True

    def __init__(self, scale: int, channels: int = 3) -> None:
        super().__init__()
        self.scale, self.channels = scale, channels

    def forward(self, lr: Tensor) -> Tensor:
        size = self.scale * lr.shape[-2], self.scale * lr.shape[-1]
        return resize_kspace(lr, size).abs()  # [B, C, h, w] -> [B, C, s·h, s·w]
