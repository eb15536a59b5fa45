"""SRVGGNetCompact, the small net of Real-ESRGAN (Wang et al. 2021, https://arxiv.org/abs/2107.10833), for its videos.

Parameter names and range (RGB, 0…1) follow https://github.com/xinntao/Real-ESRGAN. Its nets for ×2 and ×3 are one of ×4
whose result is downscaled bicubically: `shuffle=4`.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from sr.net.receptive_field import compute_receptive_field
from sr.runtime.error import UserError
from sr.runtime.option_types import PositiveInt


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
        is_resized = (
            self.shuffle > scale
        )  # by Keys' kernel, which is 4 pixels wide: 2 to each side of the factor `shuffle`
        self.receptive_field = compute_receptive_field(depth + 2, *([(self.shuffle, 2)] if is_resized else []))
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
        size = (self.scale * lr.shape[2], self.scale * lr.shape[3])
        return F.interpolate(x, size, mode="bicubic")  # [B, C, s·h, s·w]

    @staticmethod
    def read_options(state: dict[str, Tensor]) -> dict[str, int]:
        """Return `width` and `depth` of the net that has these weights."""
        return {
            "width": len(state["body.0.weight"]),
            "depth": sum(value.ndim == 4 for value in state.values()) - 2,
        }
