"""`metric/also=[dists]`: deep image structure and texture similarity (Ding et al., "Image Quality Assessment: Unifying
Structure and Texture Similarity", 2020, https://arxiv.org/abs/2004.07728).

VGG16 with its max poolings replaced by blurred L2 poolings; α and β come with torchmetrics and are the authors' own.
The authors' script first resizes an image to 256 pixels; like their module, this measures it at its own size.
"""

import sr.runtime.torchvision_shim  # noqa: F401  before Lightning and torchmetrics

from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
import torchmetrics
from torch import Tensor, nn

from sr.image.batch import MetricInput
from sr.metric.metric import Metric
from sr.pretrained.backbone import MEAN, STD, extract_features, load_backbone, to_three_channels
from sr.runtime.option_types import PathStr

RELU_INDICES = (3, 8, 15, 22, 29)  # after the last ReLU of each stage
STAGE_CHANNELS = (3, 64, 128, 256, 512, 512)  # of the image itself and of the features
_EPSILON = 1e-6  # c1 and c2


class L2Pool(nn.Module):
    """The root of the Hann-weighted mean of squares, with stride 2: `[B, C, h, w]` -> `[B, C, h/2, w/2]`, rounded up."""

    def forward(self, x: Tensor) -> Tensor:
        hann = torch.tensor([0.25, 0.5, 0.25], dtype=x.dtype, device=x.device)
        kernel = (hann[:, None] * hann).expand(x.shape[1], 1, 3, 3)
        return torch.sqrt(F.conv2d(x.square(), kernel, stride=2, padding=1, groups=x.shape[1]) + 1e-12)


def replace_pooling(vgg: nn.Sequential) -> nn.Sequential:
    """Return `vgg` with its max poolings replaced by L2 poolings."""
    return nn.Sequential(*(L2Pool() if isinstance(layer, nn.MaxPool2d) else layer for layer in vgg))


def dists(sr: Tensor, hr: Tensor, net: nn.Sequential, alpha: Tensor, beta: Tensor) -> Tensor:
    """Return DISTS of each image: two RGB `[B, 3, H, W]` in 0…1 -> float64 `[B]`; 0 for equal images.

    `alpha` and `beta` `[1475]` weight the texture and the structure of every channel; together they sum to one.
    """
    mean, std = (torch.tensor(v, device=sr.device).view(3, 1, 1) for v in (MEAN, STD))
    x, y = ([image, *extract_features(net, (image - mean) / std, RELU_INDICES)] for image in (sr, hr))
    result = torch.ones(len(sr), dtype=torch.float64, device=sr.device)
    weights = zip(alpha.split(STAGE_CHANNELS), beta.split(STAGE_CHANNELS), strict=True)
    for feature_x, feature_y, (texture, structure) in zip(x, y, weights, strict=True):
        a, b = feature_x.double().flatten(2), feature_y.double().flatten(2)  # [B, C, pixels]
        ma, mb = a.mean(dim=2), b.mean(dim=2)
        va, vb = a.var(dim=2, correction=0), b.var(dim=2, correction=0)
        cov = (a * b).mean(dim=2) - ma * mb
        result -= ((2 * ma * mb + _EPSILON) / (ma**2 + mb**2 + _EPSILON) * texture).sum(dim=1)
        result -= ((2 * cov + _EPSILON) / (va + vb + _EPSILON) * structure).sum(dim=1)
    return result


def load_channel_weights() -> tuple[Tensor, Tensor]:
    """Return the authors' α and β, `[1475]` each, from torchmetrics' package, divided by their sum."""
    path = Path(torchmetrics.__file__).parent / "functional" / "image" / "dists_models" / "weights.pt"
    state = torch.load(path, map_location="cpu", weights_only=True)
    alpha, beta = (state[key].detach().flatten().double() for key in ("alpha", "beta"))
    total = alpha.sum() + beta.sum()
    return alpha / total, beta / total


class DISTS(Metric):
    """DISTS of the whole 8-bit image at its own size; gray as RGB. Images are measured one by one, the net in float32."""

    perceptual_rank = 3
    better: Literal["higher", "lower"] = "lower"

    def __init__(self, weights: PathStr | None = None) -> None:
        self.alpha, self.beta = load_channel_weights()
        self.net = replace_pooling(load_backbone("vgg", weights, "metric.also.dists"))

    @torch.no_grad()
    def __call__(self, images: MetricInput) -> Tensor:
        """Return `[B]`, 0…1."""
        device = images.sr.device
        net, alpha, beta = self.net.to(device), self.alpha.to(device), self.beta.to(device)
        pairs = zip(to_three_channels(images.sr).split(1), to_three_channels(images.hr).split(1), strict=True)
        return torch.cat([dists(x, y, net, alpha, beta) for x, y in pairs])
