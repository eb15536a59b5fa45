"""PatchGAN (Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", 2017,
https://arxiv.org/abs/1611.07004, section 3.2.2): one logit for each of many overlapping patches, 70×70 pixels at depth 3.

Differs from the paper: not conditioned on LR. With `norm` spectral or none, the first and last convolution stay plain.
"""

from typing import Literal

from torch import Tensor, nn

from sr.discriminator.conv_layer import conv_layer
from sr.runtime.error import UserError
from sr.runtime.option_types import PositiveInt


class Patch(nn.Module):
    """Images `[B, C, H, W]` -> a map of logits `[B, 1, h, w]`, about H / 2^depth by W / 2^depth.

    `depth` layers are strided; the receptive field of a logit is 16, 34, 70, 142 pixels wide at depth 1, 2, 3, 4. H and W
    are 3 · 2^depth or more.
    """

    def __init__(
        self,
        channels: int = 3,
        width: PositiveInt = 64,
        depth: PositiveInt = 3,
        norm: Literal["batch", "spectral", "none"] = "batch",
    ) -> None:
        super().__init__()
        self.is_repeatable = norm != "spectral"
        self.depth = depth
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2, inplace=True)]
        c_in = width
        for level in range(1, depth + 1):
            c_out = width * min(2**level, 8)
            layers += conv_layer(c_in, c_out, kernel=4, stride=2 if level < depth else 1, norm=norm)
            c_in = c_out
        self.layers = nn.Sequential(*layers, nn.Conv2d(c_in, 1, 4, padding=1))

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[2:]
        side = 3 * 2**self.depth
        if min(height, width) < side:
            raise UserError(
                f"model.discriminator.depth={self.depth}: expected images of {side}×{side} pixels or more (found "
                f"{height}×{width}); lower it, or raise data.patch"
            )
        return self.layers(image)
