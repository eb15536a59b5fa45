"""`model/loss=[perceptual]`: the distance between the features of a trained network (Johnson, Alahi and Fei-Fei, "Perceptual
Losses for Real-Time Style Transfer and Super-Resolution", 2016, https://arxiv.org/abs/1603.08155, eq. 2 to 4).

The network is VGG-19, as in SRGAN (Ledig et al., 2017, https://arxiv.org/abs/1609.04802, eq. 5: after the ReLU, squares,
features divided by 12.75) and ESRGAN (Wang et al., 2018, https://arxiv.org/abs/1809.00219, section 3.2: before it, L1).

Differs from the papers' code: a gray image is repeated to three channels, and of an image with any other number of channels
each one is used as a gray image.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from sr.loss.feature_extractor import load_extractor
from sr.pretrained.backbone import find_weight_file
from sr.runtime.error import UserError
from sr.runtime.option_types import NonNegativeFloat, PathStr


def l1(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean absolute difference."""
    return (a - b).abs().mean()


def l2(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean squared difference (eq. 2)."""
    return (a - b).square().mean()


def gram(a: Tensor, b: Tensor) -> Tensor:
    """Return ‖G(a) − G(b)‖² (eq. 4), mean over images: textures are compared, wherever they are in the image."""
    return (compute_gram_matrix(a) - compute_gram_matrix(b)).square().sum(dim=(1, 2)).mean()


def compute_gram_matrix(feature: Tensor) -> Tensor:
    """Return the correlations between channels (eq. 3), divided by C·h·w: `[B, C, h, w]` -> `[B, C, C]`."""
    flat = feature.flatten(2)
    with torch.autocast(feature.device.type, enabled=False):
        return flat @ flat.transpose(1, 2) / flat[0].numel()


DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"l1": l1, "l2": l2, "gram": gram}


class Perceptual(nn.Module):
    """Σ weight · distance between the features of the network's layers; 0 for equal images.

    `layers` gives the weight of each convolution (`conv5_4`); 0 and null leave it out. The network is the official VGG-19,
    or `weights`, a file of its layout. In each step it costs one pass through its layers for HR and two for SR.
    """

    key = "model.loss.perceptual"

    def __init__(
        self,
        layers: Mapping[str, NonNegativeFloat | None],
        before_relu: bool = True,
        distance: Literal["l1", "l2", "gram"] = "l1",
        weights: PathStr | None = None,
    ) -> None:
        super().__init__()
        if distance not in DISTANCES:
            raise UserError(f"{self.key}.distance={distance}: expected one of {', '.join(DISTANCES)}")
        self.distance = DISTANCES[distance]
        self.layers = self._select_layers(layers)
        self.extractor = load_extractor(self._find_weight_file(weights), self.key, self.layers, before_relu)

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        pairs = zip(self.layers.values(), self.extractor(sr, hr), strict=True)
        return sum(weight * self.distance(x, y) for weight, (x, y) in pairs)

    def _select_layers(self, layers: Mapping[str, float | None]) -> dict[str, float]:
        """Return the layers with a weight above 0."""
        for name, weight in layers.items():
            if weight is not None and (not isinstance(weight, int | float) or isinstance(weight, bool) or weight < 0):
                raise UserError(f"{self.key}.layers.{name}={weight}: expected a weight of 0 or more")
        selected = {name: float(weight) for name, weight in layers.items() if weight}
        if not selected:
            raise UserError(
                f"{self.key}.layers={dict(layers)}: expected a layer with a weight above 0, such as conv5_4: 1.0"
            )
        return selected

    def _find_weight_file(self, weights: str | None) -> Path:
        return find_weight_file("vgg19", weights, self.key)
