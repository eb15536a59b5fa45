"""`metric/also=[lpips]`: learned perceptual image patch similarity (Zhang et al., "The Unreasonable Effectiveness of
Deep Features as a Perceptual Metric", 2018, https://arxiv.org/abs/1801.03924), version 0.1 with linear weights.

The linear weights come with torchmetrics and are the authors' own files; the network's weights are torchvision's, as the
authors' are.
"""

import sr.runtime.torchvision_shim  # noqa: F401  before Lightning and torchmetrics

from pathlib import Path
from typing import Literal

import torch
import torchmetrics
from torch import Tensor, nn

from sr.image.batch import MetricInput
from sr.metric.metric import Metric
from sr.pretrained.backbone import extract_features, load_backbone, to_three_channels
from sr.runtime.error import UserError
from sr.runtime.option_types import PathStr

RELU_INDICES = {"alex": (1, 4, 7, 9, 11), "vgg": (3, 8, 15, 22, 29)}  # after these ReLUs
MIN_SIDES = {"alex": 31, "vgg": 16}  # pixels: below it the poolings leave nothing
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # for images in -1…1


def lpips(sr: Tensor, hr: Tensor, net: nn.Sequential, linear: list[Tensor], relu_indices: tuple[int, ...]) -> Tensor:
    """Return LPIPS of each image: two RGB `[B, 3, H, W]` in 0…1 -> float64 `[B]`; 0 for equal images.

    `net` is evaluated up to the layers `relu_indices`; `linear` holds a weight for each channel of each of them, `[C]`.
    """
    shift, scale = (torch.tensor(v, device=sr.device).view(3, 1, 1) for v in (_SHIFT, _SCALE))
    x, y = (extract_features(net, (2 * image - 1 - shift) / scale, relu_indices) for image in (sr, hr))
    result = torch.zeros(len(sr), dtype=torch.float64, device=sr.device)
    for a, b, weight in zip(x, y, linear, strict=True):
        error = (_normalize_channels(a) - _normalize_channels(b)).square() * weight.view(-1, 1, 1)
        result += error.sum(dim=1).double().mean(dim=(1, 2))  # eq. 1
    return result


def _normalize_channels(feature: Tensor) -> Tensor:
    """Scale `[B, C, h, w]` to unit length in the channel dimension."""
    return feature / torch.sqrt(1e-8 + feature.square().sum(dim=1, keepdim=True))


def load_linear_weights(net: str) -> list[Tensor]:
    """Return the authors' weights v0.1 for `alex` or `vgg`, one `[C]` for each layer, from torchmetrics' package."""
    path = Path(torchmetrics.__file__).parent / "functional" / "image" / "lpips_models" / f"{net}.pth"
    state = torch.load(path, map_location="cpu", weights_only=True)
    return [state[f"lin{k}.model.1.weight"].flatten() for k in range(len(RELU_INDICES[net]))]


class LPIPS(Metric):
    """LPIPS of the whole 8-bit image at its own size, `net` alex (the usual one in tables) or vgg; gray as RGB.

    An image below 31×31 (alex) or 16×16 (vgg) has no value: nan. Images are measured one by one in float32, on their
    device.
    """

    perceptual_rank = 4
    better: Literal["higher", "lower"] = "lower"

    def __init__(self, net: Literal["alex", "vgg"] = "alex", weights: PathStr | None = None) -> None:
        if net not in RELU_INDICES:
            raise UserError(f"metric.also.lpips.net={net}: expected alex or vgg")
        self.net_name, self.linear = net, load_linear_weights(net)
        self.label = (
            "lpips" if net == "alex" else f"lpips_{net}"
        )  # their values are not comparable, so their names differ
        self.net = load_backbone(net, weights, "metric.also.lpips")

    @torch.no_grad()
    def __call__(self, images: MetricInput) -> Tensor:
        """Return `[B]`, 0 or more, or nan."""
        device = images.sr.device
        if min(images.sr.shape[-2:]) < MIN_SIDES[self.net_name]:
            return torch.full((len(images.sr),), torch.nan, dtype=torch.float64, device=device)
        net, linear = self.net.to(device), [weight.to(device) for weight in self.linear]
        pairs = zip(to_three_channels(images.sr).split(1), to_three_channels(images.hr).split(1), strict=True)
        return torch.cat([lpips(x, y, net, linear, RELU_INDICES[self.net_name]) for x, y in pairs])
