"""The base of the nets with windowed attention, whose layers are spandrel's (https://github.com/chaiNNer-org/spandrel).

An optional extra: pip install 'sr[zoo]'. Layers, initialization and parameter names are those of the official code. The
nets are built without a weight file (`sr.net.spandrel` builds any architecture from one).
"""

import importlib
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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
        right, bottom = (max(self.window - n, 0) for n in (w, h))
        x = F.pad(lr, (0, right, 0, bottom), mode="replicate") if right or bottom else lr
        return self.model(x)[..., : self.scale * h, : self.scale * w]  # [B, C, h, w] -> [B, C, s·h, s·w]

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
        return getattr(importlib.import_module(f"spandrel.architectures.{name}"), name)
    except ImportError as error:
        raise UserError(f"model/net={name.lower()} needs spandrel ({error}): pip install 'sr[zoo]'") from None
