"""SRVGGNetCompact, the small net of Real-ESRGAN (Wang et al. 2021, https://arxiv.org/abs/2107.10833), for its videos.

Parameter names and range (RGB, 0…1) follow https://github.com/xinntao/Real-ESRGAN. Its nets for ×2 and ×3 are one of ×4
whose result is downscaled bicubically: `shuffle=4`.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sr.image.resize_graph import evaluate_cubic
from sr.net.receptive_field import compute_receptive_field
from sr.runtime.error import UserError
from sr.runtime.option_types import PositiveInt


def compute_kernel(factor: int, scale: int) -> Tensor:
    """Return the bicubic weights, a = -0.75 as in PyTorch and ncnn, that downscale `factor`² pixels to `scale`².

    `[scale², 1, factor + 2, factor + 2]`: one filter for each pixel of the result; a pixel beyond each side is used.
    """
    rows = []
    for k in range(scale):
        center = (k + 0.5) * factor / scale - 0.5
        rows.append([evaluate_cubic(i - center, -0.75) for i in range(-1, factor + 1)])
    row = torch.tensor(rows, dtype=torch.float64)  # [scale, factor + 2]
    return torch.einsum("iy,jx->ijyx", row, row).flatten(0, 1)[:, None].float()


class SRVGGNetCompact(nn.Module):
    """`depth` + 2 convolutions of `width` channels with PReLU, added to the repeated pixels; 621,424 parameters at ×4."""

    def __init__(
        self,
        scale: int,
        channels: int = 3,
        width: PositiveInt = 64,
        depth: PositiveInt = 16,
        shuffle: PositiveInt | None = None,
    ) -> None:
        """Create a net of the factor `shuffle` (None: `scale`), whose result is downscaled to `scale`."""
        super().__init__()
        self.scale, self.channels, self.shuffle = scale, channels, shuffle or scale
        if self.shuffle < scale:
            raise UserError(f"model.net.shuffle={shuffle}: expected scale={scale} or more, or null for the scale")
        is_resized = self.shuffle > scale
        self.receptive_field = compute_receptive_field(depth + 2, *([(self.shuffle, 1)] if is_resized else []))
        if is_resized:
            self.register_buffer("kernel", compute_kernel(self.shuffle, scale), persistent=False)
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1), nn.PReLU(width)]
        for _ in range(depth):
            layers += [nn.Conv2d(width, width, 3, padding=1), nn.PReLU(width)]
        layers.append(nn.Conv2d(width, channels * self.shuffle**2, 3, padding=1))
        self.body = nn.Sequential(*layers)

    def forward(self, lr: Tensor) -> Tensor:
        x = F.pixel_shuffle(self.body(lr), self.shuffle)  # [B, C, h, w] -> [B, C, shuffle·h, shuffle·w]
        x = x + F.interpolate(lr, scale_factor=self.shuffle, mode="nearest")
        if self.shuffle == self.scale:
            return x

        # Downscaling. `F.interpolate` computes positions in float32, which differ between a tile and the whole image.
        b, c, h, w = x.shape
        x = F.pad(x.reshape(b * c, 1, h, w), (1, 1, 1, 1), mode="replicate")
        x = F.pixel_shuffle(F.conv2d(x, self.kernel, stride=self.shuffle), self.scale)  # [B·C, 1, s·h, s·w]
        return x.reshape(b, c, *x.shape[2:])

    @staticmethod
    def read_options(state: dict[str, Tensor]) -> dict[str, int]:
        """Return `width` and `depth` of the net that has these weights."""
        return {
            "width": len(state["body.0.weight"]),
            "depth": sum(value.ndim == 4 for value in state.values()) - 2,
        }
