"""The base of the nets with windowed attention, whose layers are spandrel's (https://github.com/chaiNNer-org/spandrel).

An optional extra: pip install 'sr[zoo]'. Layers, initialization and parameter names are those of the official code. The
nets are built without a weight file (`sr.net.spandrel` builds any architecture from one).
"""

import importlib
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.compiler import is_exporting

from sr.net.dynamic_size import crop_to_size, pad_to_multiple, pad_to_side
from sr.runtime import torchvision_shim
from sr.runtime.error import UserError


class Windowed(nn.Module):
    """spandrel's class `name` with windows of `window`×`window` pixels, for images of any size.

    The architecture pads an image by reflection to whole windows; an image smaller than a window is padded by
    replication first.
    """

    def __init__(
        self,
        name: str,
        scale: int,
        channels: int,
        width: int,
        depths: Sequence[int],
        heads: Sequence[int],
        window: int,
        ratio: float,
        **options: Any,
    ) -> None:
        super().__init__()
        if len(depths) != len(heads) or any(width % n for n in heads):
            raise UserError(
                f"model.net.heads={list(heads)}: expected one number for each of the {len(depths)} depths, "
                f"each a divisor of model.net.width={width}"
            )
        self.scale, self.channels, self.window = scale, channels, window
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # HAT calls meshgrid without indexing=
            self.model = _import_architecture(name)(
                upscale=scale, in_chans=channels, embed_dim=width, depths=list(depths), num_heads=list(heads),
                window_size=window, mlp_ratio=ratio, img_size=64, **options,
            )  # fmt: skip

    def forward(self, lr: Tensor) -> Tensor:
        h, w = lr.shape[2:]
        x = pad_to_side(lr, self.window)
        if is_exporting():
            x = pad_to_multiple(x, self.window)
            for layer in self.modules():
                if hasattr(layer, "input_resolution"):
                    layer.input_resolution = None  # of which it has a mask already; a graph computes all masks
        return crop_to_size(self.model(x), (self.scale * h, self.scale * w))  # [B, C, h, w] -> [B, C, s·h, s·w]

    @staticmethod
    def from_published(state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the authors' file in this net's names; any other state dict is returned unchanged."""
        if "conv_first.weight" not in state:
            return state
        return {f"model.{name}": value for name, value in state.items()}


def _import_architecture(name: str) -> type[nn.Module]:
    if torch.get_default_device().type == "meta":  # its constructor computes the stochastic depth, which needs numbers
        raise UserError(f"{name} cannot be built without its weights")
    torchvision_shim.install()  # spandrel imports torchvision
    try:
        architecture = getattr(importlib.import_module(f"spandrel.architectures.{name}"), name)
    except ImportError as error:
        raise UserError(f"model/net={name.lower()} needs spandrel ({error}): pip install 'sr[zoo]'") from None
    _make_exportable(sys.modules[architecture.__module__])
    return architecture


def _make_exportable(module: ModuleType) -> None:
    """Replace two functions of the official code by equal ones that `torch.export` can trace for any size.

    One computes the batch as `int(…)`, which freezes it, the other assigns to slices of a mask.
    """
    module.window_reverse = reverse_windows
    for architecture in vars(module).values():
        if isinstance(architecture, type) and "calculate_mask" in vars(architecture):
            architecture.calculate_mask = compute_mask


def reverse_windows(windows: Tensor, window: int, h: int, w: int) -> Tensor:
    """Join windows: `[B·h/window·w/window, window, window, C]` -> `[B, h, w, C]`."""
    x = windows.view(-1, h // window, w // window, window, window, windows.shape[-1])
    return x.transpose(2, 3).reshape(-1, h, w, windows.shape[-1])


def compute_mask(layer: nn.Module, size: tuple[int, int], dtype: torch.dtype = torch.float32) -> Tensor:
    """Return -100 for pixels of a shifted window that are not neighbors in the image: `[windows, window², window²]`.

    The image was shifted cyclically by `layer.shift_size`, so that the last windows have parts from opposite edges.
    """
    window, shift = layer.window_size, layer.shift_size
    regions = []
    for n in size:
        position = torch.arange(n)
        regions.append((position >= n - window).long() + (position >= n - shift).long())
    h, w = size
    region = (3 * regions[0][:, None] + regions[1]).view(h // window, window, w // window, window)
    region = region.transpose(1, 2).reshape(-1, window * window)
    return torch.where(region[:, None] == region[:, :, None], 0.0, -100.0).to(dtype)
