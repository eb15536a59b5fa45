"""A trained VGG that a loss looks through; its convolutions have the papers' names: conv3_4 is the fourth of stage three."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sr.pretrained.backbone import MEAN, STD, Widths, compute_taps, fill_layers, read_layers, vgg, widths_of
from sr.runtime.error import UserError, suggest_nearest


class Stack(nn.Module):
    """The layers up to the last of `taps`. They move and are copied with the loss, but are no submodule of it: neither
    learned, nor counted, nor kept in checkpoints."""

    def __init__(self, net: nn.Sequential, taps: Sequence[int], key: str) -> None:
        super().__init__()
        self.__dict__["net"] = net
        self.taps, self.key = tuple(taps), key
        self.smallest = 2 ** sum(isinstance(layer, nn.MaxPool2d) for layer in net)  # pixels a side

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: Any, **kwargs: Any) -> nn.Module:
        """What `to(device)` does to each module."""
        self.net._apply(fn, *args, **kwargs)
        return super()._apply(fn, *args, **kwargs)

    def forward(self, sr: Tensor, hr: Tensor) -> list[tuple[Tensor, Tensor]]:
        """What is seen of both after each tap, `[B, C, h, w]`, or `[B·channels, C, h, w]` of what is not RGB."""
        h, w = hr.shape[-2:]
        if min(h, w) < self.smallest:
            raise UserError(
                f"{self.key}: needs patches of at least {self.smallest}×{self.smallest} HR pixels, got {h}×{w}: data.patch"
            )
        with torch.no_grad():
            theirs = self._seen(hr)
        return list(zip(self._seen(sr), theirs, strict=True))

    def _seen(self, image: Tensor) -> list[Tensor]:
        image = colored(image.to(next(self.net.parameters()).dtype))
        mean, std = (image.new_tensor(values).view(3, 1, 1) for values in (MEAN, STD))
        return compute_taps(self.net, (image - mean) / std, self.taps)


def colored(image: Tensor) -> Tensor:
    """RGB as it is; of others, each channel as a gray picture: `[B, C, H, W]` -> `[B·C, 3, H, W]`."""
    return image if image.shape[1] == 3 else image.flatten(0, 1).unsqueeze(1).expand(-1, 3, -1, -1)


def load(file: Path, key: str, layers: Iterable[str] | None = None, before_relu: bool = False) -> Stack:
    """From a file in torchvision's layout, whichever VGG it is; without `layers`, the last convolution of each stage."""
    state = read_layers(file, key)
    widths = widths_of(state)
    if not widths:
        raise UserError(
            f"{key}.weights={file}: expected a VGG as torchvision writes it (features.0.weight, features.2.weight …), "
            f"found {', '.join(list(state)[:4]) or 'no weights'}"
        )
    known = numbers(widths)
    names = list(layers) if layers is not None else [f"conv{s}_{len(stage)}" for s, stage in enumerate(widths, 1)]
    for name in names:
        if name not in known:
            raise UserError(
                f"{key}.layers: there is no {name} in {file.name}; it has {', '.join(known)}.{suggest_nearest(name, known)}"
            )
    taps = [known[name] + (not before_relu) for name in names]
    with torch.device("meta"):
        net = vgg(widths)
    return Stack(fill_layers(net[: max(taps) + 1], state, file, key), taps, key)


def numbers(widths: Widths) -> dict[str, int]:
    """The convolutions' places among the layers by their names: `{"conv1_1": 0, "conv1_2": 2, "conv2_1": 5 …}`."""
    found, at = {}, 0
    for s, stage in enumerate(widths, 1):
        for k in range(1, len(stage) + 1):
            found[f"conv{s}_{k}"] = at
            at += 2
        at += 1
    return found
