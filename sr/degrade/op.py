"""What all random degradations have in common: one kind of damage, drawn for each image, done to several at once."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sr.runtime.error import UserError

Images = list[Tensor]  # float 0…1, [C, h, w] each: sizes differ after a random resize
Size = tuple[int, int]


class Step(NamedTuple):
    """One thing that happens to one image."""

    op: "Op"
    draw: Any  # its parameters, drawn on the CPU


class Op(nn.Module):
    """One kind of damage, which an image gets with `probability`.

    An op adds two things: `draw(chance)`, the parameters for one image, and `forward(images, draws, lr)`, the damage
    done to several images, each by its own parameters and in its own size; `lr` is the size (h, w) that the chain ends
    at. An image's result depends on its pixels and its parameters alone, whatever others stand beside it.
    """

    def __init__(self, probability: float = 1.0) -> None:
        super().__init__()
        self.place = 0  # in the chain's list
        self.probability = share(f"{type(self).__name__}.probability", probability)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self._dials())})"

    def _dials(self) -> list[str]:
        hidden = ("training", "place")
        return [f"{key}={value}" for key, value in vars(self).items() if key[0] != "_" and key not in hidden]

    def plan(self, chance: np.random.Generator) -> list[Step]:
        """What happens to one image, in order."""
        return [Step(self, self.draw(chance))] if chance.random() < self.probability else []

    def draw(self, chance: np.random.Generator) -> Any:
        raise NotImplementedError

    def forward(self, images: Images, draws: Sequence[Any], lr: Size) -> Images:
        raise NotImplementedError


def canvas(images: Images) -> Tensor:
    """The images as one batch `[B, C, H, W]`: each in the upper left corner, zero beyond it."""
    height, width = (max(image.shape[axis] for image in images) for axis in (-2, -1))
    if all(image.shape[-2:] == (height, width) for image in images):
        return torch.stack(images) if len(images) > 1 else images[0][None]
    batch = images[0].new_zeros(len(images), images[0].shape[0], height, width)
    for k, image in enumerate(
        images
    ):  # by its index: what a loop over the batch gives cannot be written to with a gradient
        batch[k, :, : image.shape[-2], : image.shape[-1]] = image
    return batch


def cut(batch: Tensor, images: Images) -> Images:
    """The part of each that lies on the canvas where `images` lie."""
    return [one[:, : image.shape[-2], : image.shape[-1]] for one, image in zip(batch, images, strict=True)]


def column(values: Sequence[float], like: Tensor) -> Tensor:
    """One number for each image, `[B, 1, 1, 1]`."""
    return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None, None, None]


def generator(seed: int, device: torch.device) -> torch.Generator:
    return torch.Generator(device).manual_seed(seed)


def new_seed(chance: np.random.Generator) -> int:
    return int(chance.integers(2**63))


def chosen(chance: np.random.Generator, weights: Mapping[Any, float]) -> Any:
    """One of the keys, by weights that need not sum to one."""
    left = chance.random() * sum(weights.values())
    for key, weight in weights.items():
        left -= weight
        if left < 0:
            return key
    return key


def share(dial: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise UserError(f"data.degrade: {dial}={value}: expected a probability, 0…1")
    return float(value)


def span(dial: str, value: Any, low: float = 0, high: float = float("inf")) -> list[float]:
    """`[least, most]`, checked."""
    fits = isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(v, int | float) for v in value)
    if not fits or not low <= value[0] <= value[1] <= high:
        most = f" … {high:g}" if high < float("inf") else " or more"
        raise UserError(f"data.degrade: {dial}={value}: expected [least, most] within {low:g}{most}")
    return list(value)


def weights(dial: str, value: Any, known: Sequence[str]) -> dict[str, float]:
    """`{name: weight}`, checked; a list of names weighs them equally."""
    value = dict.fromkeys(value, 1.0) if isinstance(value, list | tuple) else value
    if not isinstance(value, Mapping) or not value or set(value) - set(known):
        raise UserError(f"data.degrade: {dial}={value}: expected weights of some of {', '.join(known)}")
    if min(value.values()) < 0 or sum(value.values()) <= 0:
        raise UserError(f"data.degrade: {dial}={value}: expected weights of 0 or more, not all 0")
    return dict(value)
