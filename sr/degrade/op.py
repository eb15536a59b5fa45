"""The base class of all random degradations, and the functions that they share: drawing, batching, checking options."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sr.runtime.error import UserError
from sr.runtime.option_types import Fraction

Images = list[Tensor]  # float in 0…1, [C, h, w] each: sizes differ after a random resize
Size = tuple[int, int]  # height, width

# Names (and one value) in the description of an op, which earlier versions stored with every result: attribute -> text.
DESCRIPTION_NAMES = {
    "sinc_probability": "sinc",
    "plateau_beta": "plateau",
    "gray_probability": "gray",
    "correlated_probability": "correlated",
    "directions": "ways",
    "relative_to": "of",
    "uniform_in": "evenly",
    "input": "now",
    "fixed_order": "ordered",
    "row_sigma": "row",
    "column_sigma": "column",
    "hum_amplitude": "hum",
    "hum_periods": "bars",
    "shot_noise": "shot",
    "read_noise": "read",
}


class DrawnOp(NamedTuple):
    """One degradation of one image."""

    op: "Op"
    parameters: Any  # drawn on the CPU by `op.draw`


class Op(nn.Module):
    """One kind of degradation, which is applied to an image with `probability`.

    A subclass defines `draw(rng)`, which draws the parameters for one image, and `forward(images, parameters, lr_size)`,
    which degrades several images, each by its own parameters and in its own size; `lr_size` is the size at the end of the
    chain. The result of an image depends on its pixels and its parameters only, not on the other images. One with
    `takes_clips` also defines `compress(frames, parameters)`, which degrades the frames of a clip together.
    """

    takes_clips: ClassVar[bool] = False

    def __init__(self, probability: Fraction = 1.0) -> None:
        super().__init__()
        self.index = 0  # position in the chain's list of ops
        self.probability = check_probability(f"{type(self).__name__}.probability", probability)

    def __repr__(self) -> str:
        """Describe the op. The text is stored with every result and compared: it must not change for equal results."""
        return f"{type(self).__name__}({', '.join(self.describe_options())})"

    def describe_options(self) -> list[str]:
        """Return `name=value` for each option, in the order in which the constructor sets them."""
        options = {
            key: value for key, value in vars(self).items() if key[0] != "_" and key not in ("training", "index")
        }
        return [
            f"{DESCRIPTION_NAMES.get(key, key)}={DESCRIPTION_NAMES.get(value, value) if isinstance(value, str) else value}"
            for key, value in options.items()
        ]

    def plan(self, rng: np.random.Generator) -> list[DrawnOp]:
        """Draw the steps for one image, in the order in which they are applied."""
        return [DrawnOp(self, self.draw(rng))] if rng.random() < self.probability else []

    def draw(self, rng: np.random.Generator) -> Any:
        raise NotImplementedError

    def forward(self, images: Images, parameters: Sequence[Any], lr_size: Size) -> Images:
        raise NotImplementedError


def stack_padded(images: Images) -> Tensor:
    """Stack images of different sizes to one batch `[B, C, H, W]`: each in the upper left corner, padded with zeros."""
    height, width = (max(image.shape[axis] for image in images) for axis in (-2, -1))
    if all(image.shape[-2:] == (height, width) for image in images):
        return torch.stack(images) if len(images) > 1 else images[0][None]
    batch = images[0].new_zeros(len(images), images[0].shape[0], height, width)
    for k, image in enumerate(images):  # by index: the views that iterating yields cannot be written to with a gradient
        batch[k, :, : image.shape[-2], : image.shape[-1]] = image
    return batch


def unstack_cropped(batch: Tensor, images: Images) -> Images:
    """Return the images of a batch, each cropped to the size that it has in `images`."""
    return [padded[:, : image.shape[-2], : image.shape[-1]] for padded, image in zip(batch, images, strict=True)]


def create_generator(seed: int, device: torch.device) -> torch.Generator:
    return torch.Generator(device).manual_seed(seed)


def draw_seed(rng: np.random.Generator) -> int:
    """Draw a seed for `create_generator`."""
    return int(rng.integers(2**63))


def draw_weighted(rng: np.random.Generator, weights: Mapping[Any, float]) -> Any:
    """Draw one of the keys, with probabilities proportional to the weights."""
    remaining = rng.random() * sum(weights.values())
    for key, weight in weights.items():
        remaining -= weight
        if remaining < 0:
            return key
    return key


def check_probability(option: str, value: Any) -> float:
    """Return `value`, or raise if it is no number in 0…1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise UserError(f"data.degrade: {option}={value}: expected a probability, 0…1")
    return float(value)


def check_range(option: str, value: Any, low: float = 0, high: float = float("inf")) -> list[float]:
    """Return `value` as a list, or raise if it is no `[least, most]` with low ≤ least ≤ most ≤ high."""
    is_pair = isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(v, int | float) for v in value)
    if not is_pair or not low <= value[0] <= value[1] <= high:
        limit = f" … {high:g}" if high < float("inf") else " or more"
        raise UserError(f"data.degrade: {option}={value}: expected [least, most] within {low:g}{limit}")
    return list(value)


def check_weights(option: str, value: Any, names: Sequence[str]) -> dict[str, float]:
    """Return `value` as `{name: weight}`; a list of names weights them equally. Raise for other names or weights."""
    value = dict.fromkeys(value, 1.0) if isinstance(value, list | tuple) else value
    if not isinstance(value, Mapping) or not value or set(value) - set(names):
        raise UserError(f"data.degrade: {option}={value}: expected weights of some of {', '.join(names)}")
    if min(value.values()) < 0 or sum(value.values()) <= 0:
        raise UserError(f"data.degrade: {option}={value}: expected weights of 0 or more, not all 0")
    return dict(value)
