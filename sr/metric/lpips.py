"""`metric/also=[lpips]`: learned perceptual image patch similarity (Zhang et al., "The Unreasonable Effectiveness of
Deep Features as a Perceptual Metric", 2018, https://arxiv.org/abs/1801.03924), version 0.1 with linear weights.

The linear weights come with torchmetrics and are the authors' own files; the network's are torchvision's, as there.
"""

from pathlib import Path
from typing import Literal

import torch
import torchmetrics
from torch import Tensor, nn

from sr.image.batch import MetricInput
from sr.pretrained.backbone import extract_features, load_backbone, to_three_channels
from sr.runtime.error import UserError

TAPS = {"alex": (1, 4, 7, 9, 11), "vgg": (3, 8, 15, 22, 29)}  # after these ReLUs
SMALLEST = {"alex": 31, "vgg": 16}  # pixels a side that the poolings leave something of
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # for images in -1…1


def lpips(sr: Tensor, hr: Tensor, net: nn.Sequential, linear: list[Tensor], taps: tuple[int, ...]) -> Tensor:
    """LPIPS of each image: two RGB `[B, 3, H, W]` in 0…1 -> float64 `[B]`; 0 for equal.

    `linear` holds a weight for each channel of each tap, `[C]`.
    """
    shift, scale = (torch.tensor(v, device=sr.device).view(3, 1, 1) for v in (_SHIFT, _SCALE))
    x, y = (extract_features(net, (2 * image - 1 - shift) / scale, taps) for image in (sr, hr))
    result = torch.zeros(len(sr), dtype=torch.float64, device=sr.device)
    for a, b, weight in zip(x, y, linear, strict=True):
        error = (_unit(a) - _unit(b)).square() * weight.view(-1, 1, 1)
        result += error.sum(dim=1).double().mean(dim=(1, 2))  # eq. 1
    return result


def _unit(feature: Tensor) -> Tensor:
    """Unit length in the channel dimension."""
    return feature / torch.sqrt(1e-8 + feature.square().sum(dim=1, keepdim=True))


def linear_weights(net: str) -> list[Tensor]:
    """The authors' weights v0.1 for `alex` or `vgg`, one `[C]` a tap, from torchmetrics' package."""
    path = Path(torchmetrics.__file__).parent / "functional" / "image" / "lpips_models" / f"{net}.pth"
    state = torch.load(path, map_location="cpu", weights_only=True)
    return [state[f"lin{k}.model.1.weight"].flatten() for k in range(len(TAPS[net]))]


class LPIPS:
    """LPIPS of the whole 8-bit picture at its own size, `net` alex (the usual one in tables) or vgg; gray as RGB.

    A picture below 31×31 (alex) or 16×16 (vgg) has none: nan. Measured one by one in float32, on the pictures' device.
    """

    unit = ""
    better: Literal["higher", "lower"] = "lower"

    def __init__(self, net: Literal["alex", "vgg"] = "alex", weights: str | None = None) -> None:
        if net not in TAPS:
            raise UserError(f"metric.also.lpips.net={net}: expected alex or vgg")
        self.name, self.linear = net, linear_weights(net)
        self.label = "lpips" if net == "alex" else f"lpips_{net}"  # two scales of numbers, never under one name
        self.net = load_backbone(net, weights, "metric.also.lpips")

    @torch.no_grad()
    def __call__(self, seen: MetricInput) -> Tensor:
        """`[B]`, 0 or more, or nan."""
        device = seen.sr.device
        if min(seen.sr.shape[-2:]) < SMALLEST[self.name]:
            return torch.full((len(seen.sr),), torch.nan, dtype=torch.float64, device=device)
        net, linear = self.net.to(device), [weight.to(device) for weight in self.linear]
        pairs = zip(to_three_channels(seen.sr).split(1), to_three_channels(seen.hr).split(1), strict=True)
        return torch.cat([lpips(x, y, net, linear, TAPS[self.name]) for x, y in pairs])
