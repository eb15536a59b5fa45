"""Features of a trained VGG, for losses; convolutions have the papers' names: conv3_4 is the fourth of stage three."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sr.pretrained.backbone import MEAN, STD, Widths, compute_taps, detect_widths, fill_layers, read_layers, vgg
from sr.runtime.error import UserError, suggest_nearest


class FeatureExtractor(nn.Module):
    """The layers of a VGG up to the last of `taps`, the indices of the layers whose output is returned.

    The VGG moves between devices with the loss, but is not registered as a submodule: it is neither trained, nor counted
    as parameters, nor stored in checkpoints. `key` is the option path of the loss, for messages.
    """

    def __init__(self, net: nn.Sequential, taps: Sequence[int], key: str) -> None:
        super().__init__()
        self.__dict__["net"] = net
        self.taps, self.key = tuple(taps), key
        self.min_side = 2 ** sum(isinstance(layer, nn.MaxPool2d) for layer in net)  # of an image, in pixels

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: Any, **kwargs: Any) -> nn.Module:
        """Apply `to(device)` and the like to the unregistered VGG as well."""
        self.net._apply(fn, *args, **kwargs)
        return super()._apply(fn, *args, **kwargs)

    def forward(self, sr: Tensor, hr: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return the features of both images after each tap: `[B, C, h, w]`, or `[B·channels, C, h, w]` if not RGB."""
        h, w = hr.shape[-2:]
        if min(h, w) < self.min_side:
            raise UserError(
                f"{self.key}: needs patches of at least {self.min_side}×{self.min_side} HR pixels, got {h}×{w}: "
                f"increase data.patch"
            )
        with torch.no_grad():
            hr_features = self._extract(hr)
        return list(zip(self._extract(sr), hr_features, strict=True))

    def _extract(self, image: Tensor) -> list[Tensor]:
        image = to_rgb(image.to(next(self.net.parameters()).dtype))
        mean, std = (image.new_tensor(values).view(3, 1, 1) for values in (MEAN, STD))
        return compute_taps(self.net, (image - mean) / std, self.taps)


def to_rgb(image: Tensor) -> Tensor:
    """Return RGB unchanged, and each channel of other images as a gray image: `[B, C, H, W]` -> `[B·C, 3, H, W]`."""
    return image if image.shape[1] == 3 else image.flatten(0, 1).unsqueeze(1).expand(-1, 3, -1, -1)


def load_extractor(
    file: Path, key: str, layers: Iterable[str] | None = None, before_relu: bool = False
) -> FeatureExtractor:
    """Load any VGG from a file in torchvision's layout; without `layers`, the last convolution of each stage is tapped."""
    state = read_layers(file, key)
    widths = detect_widths(state)
    if not widths:
        raise UserError(
            f"{key}.weights={file}: expected a VGG as torchvision writes it (features.0.weight, features.2.weight …), "
            f"found {', '.join(list(state)[:4]) or 'no weights'}"
        )
    indices = locate_convolutions(widths)
    names = list(layers) if layers is not None else [f"conv{s}_{len(stage)}" for s, stage in enumerate(widths, 1)]
    for name in names:
        if name not in indices:
            raise UserError(
                f"{key}.layers: there is no {name} in {file.name}; it has {', '.join(indices)}.{suggest_nearest(name, indices)}"
            )
    taps = [indices[name] + (not before_relu) for name in names]
    with torch.device("meta"):
        net = vgg(widths)
    return FeatureExtractor(fill_layers(net[: max(taps) + 1], state, file, key), taps, key)


def locate_convolutions(widths: Widths) -> dict[str, int]:
    """Return the layer index of each convolution by its name: `{"conv1_1": 0, "conv1_2": 2, "conv2_1": 5 …}`."""
    indices, index = {}, 0
    for s, stage in enumerate(widths, 1):
        for k in range(1, len(stage) + 1):
            indices[f"conv{s}_{k}"] = index
            index += 2  # a ReLU follows
        index += 1  # a pooling follows
    return indices
