"""PatchGAN (Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", 2017,
https://arxiv.org/abs/1611.07004, section 3.2.2): judges overlapping patches, 70×70 pixels each at depth 3.

Differs from the paper: not conditioned on LR. With `norm` spectral or none, the first and last convolution stay plain.
"""

from torch import Tensor, nn

from sr.discriminator.layer import layer
from sr.runtime.error import UserError


class Patch(nn.Module):
    """Images `[B, C, H, W]` -> a map of logits `[B, 1, h, w]`, about H / 2^depth by W / 2^depth.

    `depth` layers are strided; a logit sees 16, 34, 70, 142 pixels each way at depth 1, 2, 3, 4. H, W from 3 · 2^depth up.
    """

    def __init__(self, channels: int = 3, width: int = 64, depth: int = 3, norm: str = "batch") -> None:
        super().__init__()
        if depth < 1:
            raise UserError(f"model.discriminator.depth={depth}: expected 1 or more strided layers")
        self.depth = depth
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2, inplace=True)]
        wide = width
        for level in range(1, depth + 1):
            wider = width * min(2**level, 8)
            layers += layer(wide, wider, kernel=4, stride=2 if level < depth else 1, norm=norm)
            wide = wider
        self.layers = nn.Sequential(*layers, nn.Conv2d(wide, 1, 4, padding=1))

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[2:]
        if min(height, width) < 3 * 2**self.depth:
            raise UserError(
                f"model.discriminator.depth={self.depth}: needs images of {3 * 2**self.depth} pixels each way, "
                f"came {height}×{width}; lower it, or raise data.patch"
            )
        return self.layers(image)
