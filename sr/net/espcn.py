"""ESPCN (Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional
Neural Network", 2016, https://arxiv.org/abs/1609.05158).

The paper's 5-3-3 with tanh; the output of the sub-pixel layer has no activation.
"""

from torch import Tensor, nn

from sr.net.receptive_field import compute_receptive_field


class ESPCN(nn.Module):
    """22,729 parameters for luma at ×3."""

    def __init__(self, scale: int, channels: int = 1) -> None:
        super().__init__()
        self.scale, self.channels = scale, channels
        self.receptive_field = compute_receptive_field(2 + 1 + 1)
        self.conv1 = nn.Conv2d(channels, 64, 5, padding=2)
        self.conv2 = nn.Conv2d(64, 32, 3, padding=1)
        self.conv3 = nn.Conv2d(32, channels * scale**2, 3, padding=1)
        self.shuffle = nn.PixelShuffle(scale)

    def forward(self, lr: Tensor) -> Tensor:
        x = self.conv2(self.conv1(lr).tanh()).tanh()
        return self.shuffle(self.conv3(x))  # [B, C, h, w] -> [B, C, s·h, s·w]
