"""What the nets of windowed attention share: spandrel keeps their architectures (https://github.com/chaiNNer-org/spandrel).

An optional extra: pip install 'sr[zoo]'. Layers, initialisation and parameter names are those of the official codes; a
weight file is not needed (for that there is `sr.net.spandrel`).
"""

import importlib
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sr.runtime.error import UserError


class Windowed(nn.Module):
    """spandrel's class `name`, built for `channels` and `scale` with windows of `window`×`window`, for pictures of any
    size: the architecture mirrors what it needs beyond the border, and a picture smaller than a window is continued."""

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
        **dials: Any,
    ) -> None:
        super().__init__()
        if len(depths) != len(heads) or any(width % n for n in heads):
            raise UserError(
                f"model.net.heads={list(heads)}: expected a number for each of the {len(depths)} depths, "
                f"that divides model.net.width={width}"
            )
        self.scale, self.window = scale, window
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # HAT calls meshgrid the old way
            self.model = _architecture(name)(
                upscale=scale, in_chans=channels, embed_dim=width, depths=list(depths), num_heads=list(heads),
                window_size=window, mlp_ratio=ratio, img_size=64, **dials,
            )  # fmt: skip

    def forward(self, lr: Tensor) -> Tensor:
        h, w = lr.shape[2:]
        right, below = (max(self.window - n, 0) for n in (w, h))
        x = F.pad(lr, (0, right, 0, below), mode="replicate") if right or below else lr
        return self.model(x)[..., : self.scale * h, : self.scale * w]  # [B, C, h, w] -> [B, C, s·h, s·w]

    @staticmethod
    def from_published(state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The authors' file in this net's names; any other state dict is returned as it came."""
        if "conv_first.weight" not in state:
            return state
        return {f"model.{name}": value for name, value in state.items()}


def _architecture(name: str) -> type[nn.Module]:
    if torch.get_default_device().type == "meta":  # its stochastic depth is computed, which nothing but numbers can be
        raise UserError(f"{name} cannot be built without its weights")
    try:
        return getattr(importlib.import_module(f"spandrel.architectures.{name}"), name)
    except ImportError as error:
        raise UserError(f"model/net={name.lower()} needs spandrel ({error}): pip install 'sr[zoo]'") from None
