"""`model/loss=[perceptual]`: do both pictures look alike to a network that has learned to see? (Johnson, Alahi and Fei-Fei,
"Perceptual Losses for Real-Time Style Transfer and Super-Resolution", 2016, https://arxiv.org/abs/1603.08155, eq. 2 to 4).

Through VGG-19, as SRGAN (Ledig et al., 2017, https://arxiv.org/abs/1609.04802, eq. 5: after the ReLU, squares, and features
divided by 12.75) and ESRGAN (Wang et al., 2018, https://arxiv.org/abs/1809.00219, section 3.2: before the ReLU, L1).

Unlike the papers' codes: a gray picture is shown as RGB of three equal channels, and where there are more channels than
three, each is shown as a gray picture of its own.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from sr.loss.feature_extractor import load
from sr.pretrained.backbone import find_weight_file
from sr.runtime.error import UserError


def l1(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference."""
    return (a - b).abs().mean()


def l2(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared difference (eq. 2)."""
    return (a - b).square().mean()


def gram(a: Tensor, b: Tensor) -> Tensor:
    """‖G(a) − G(b)‖² (eq. 4), mean over pictures: are there the same textures, wherever they lie?"""
    return (products(a) - products(b)).square().sum(dim=(1, 2)).mean()


def products(feature: Tensor) -> Tensor:
    """Which channels are strong together (eq. 3): `[B, C, h, w]` -> `[B, C, C]`, divided by C·h·w."""
    flat = feature.flatten(2)
    with torch.autocast(feature.device.type, enabled=False):
        return flat @ flat.transpose(1, 2) / flat[0].numel()


DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"l1": l1, "l2": l2, "gram": gram}


class Perceptual(nn.Module):
    """Σ weight · distance between what the network's layers see; 0 for equal pictures.

    `layers` gives the weight of each convolution (`conv5_4`) that is looked at, 0 or null none. Through the official VGG-19,
    or `weights`, a file of its layout. Beside the net's own step it costs one pass through the stack for HR and two for SR.
    """

    key = "model.loss.perceptual"

    def __init__(
        self,
        layers: Mapping[str, float | None],
        before_relu: bool = True,
        distance: Literal["l1", "l2", "gram"] = "l1",
        weights: str | None = None,
    ) -> None:
        super().__init__()
        if distance not in DISTANCES:
            raise UserError(f"{self.key}.distance={distance}: expected one of {', '.join(DISTANCES)}")
        self.distance = DISTANCES[distance]
        self.layers = self._asked(layers)
        self.stack = load(self._file(weights), self.key, self.layers, before_relu)

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        pairs = zip(self.layers.values(), self.stack(sr, hr), strict=True)
        return sum(weight * self.distance(ours, theirs) for weight, (ours, theirs) in pairs)

    def _asked(self, layers: Mapping[str, float | None]) -> dict[str, float]:
        for name, weight in layers.items():
            if weight is not None and (not isinstance(weight, int | float) or isinstance(weight, bool) or weight < 0):
                raise UserError(f"{self.key}.layers.{name}={weight}: expected a weight of 0 or more")
        asked = {name: float(weight) for name, weight in layers.items() if weight}
        if not asked:
            raise UserError(
                f"{self.key}.layers={dict(layers)}: expected a layer of a weight above 0, as in conv5_4: 1.0"
            )
        return asked

    def _file(self, weights: str | None) -> Path:
        return find_weight_file("vgg19", weights, self.key)
