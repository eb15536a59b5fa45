"""`profile=degrade`: the input of a net with blur, noise, JPEG, another kernel or another scale, each in several strengths.

Each condition changes one thing of the standard LR, MATLAB's bicubic of 8 bits, which is the first condition, `clean`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Gt, Interval
from torch import Tensor

from sr.degrade.blur import filter_images
from sr.degrade.jpeg import compress
from sr.degrade.kernel import create_gaussian
from sr.degrade.noise import NoiseParameters, add_gaussian_noise
from sr.image.resize import imresize
from sr.profile.row import CLEAN
from sr.runtime.option_types import PositiveFloat

Degradation = Callable[[Tensor, float | str, Tensor], Tensor]  # HR [B, C, H, W] in 0…1, strength, seeds [B] -> LR
UNITS = {"blur": "σ", "noise": "σ", "jpeg": "quality", "upscaled": "×"}


@dataclass(frozen=True)
class Condition:
    """One condition of the input. It is a degradation as `sr.data.prepare.build_pair` takes it, with a seed per image."""

    kind: str  # clean, or a name of an option of `Degrade`
    strength: float | str | None
    degradation: Degradation
    fixed: bool = False

    @property
    def label(self) -> str:
        """The condition in words: `blur σ 1.5`, `kernel area`, `clean`."""
        return " ".join(str(word) for word in (self.kind, UNITS.get(self.kind), self.strength) if word is not None)

    def __call__(self, hr: Tensor, seeds: Tensor) -> Tensor:
        """Return the LR in levels of 8 bits, of the type of `hr`, which is levels 0…255."""
        lr = self.degradation(hr.float() / 255, self.strength, seeds)
        return (lr * 255 + 0.5).floor().clamp(0, 255).to(hr.dtype)


class Degrade:
    """The conditions under which a net is evaluated; the strengths of each kind ascend, the qualities of JPEG descend."""

    def __init__(
        self,
        scale: int,
        blur: Sequence[PositiveFloat] = (0.5, 1, 1.5, 2, 3),
        noise: Sequence[PositiveFloat] = (1, 2, 5, 10, 20),
        jpeg: Sequence[Annotated[int, Interval(ge=1, le=100)]] = (95, 80, 60, 40, 20),
        kernel: Sequence[Literal["area", "bilinear", "bicubic"]] = ("area", "bilinear", "bicubic"),
        upscaled: Sequence[Annotated[float, Gt(1)]] = (1.25, 1.5, 2),
    ) -> None:
        self.scale = scale
        self.strengths: dict[str, list[float | str]] = {
            "blur": sorted(blur),
            "noise": sorted(noise),
            "jpeg": sorted(jpeg, reverse=True),
            "kernel": list(kernel),
            "upscaled": sorted(upscaled),
        }

    def list_conditions(self) -> list[Condition]:
        """Return `clean`, and the conditions of each kind by growing strength."""
        kinds: dict[str, Degradation] = {
            "blur": self._blur,
            "noise": self._add_noise,
            "jpeg": self._compress,
            "kernel": self._resample,
            "upscaled": self._upscale,
        }
        clean = Condition(CLEAN, None, lambda hr, _, seeds: self._reduce(hr))
        return [clean, *(Condition(kind, s, kinds[kind]) for kind, all_s in self.strengths.items() for s in all_s)]

    def _reduce(self, hr: Tensor) -> Tensor:
        """Return MATLAB's bicubic LR of 8 bits, in 0…1."""
        return imresize((hr * 255 + 0.5).to(torch.uint8), 1 / self.scale).float() / 255

    def _blur(self, hr: Tensor, sigma: float, seeds: Tensor) -> Tensor:
        size = 2 * max(1, round(4 * sigma)) + 1  # all but 10⁻⁴ of the Gaussian
        kernel = create_gaussian("iso", size, (sigma, sigma), 0.0, 1.0)
        return imresize(torch.stack(filter_images(list(hr), [kernel] * len(hr))), 1 / self.scale)

    def _add_noise(self, hr: Tensor, sigma: float, seeds: Tensor) -> Tensor:
        parameters = [NoiseParameters(sigma / 255, None, False, seed) for seed in seeds.tolist()]
        return torch.stack([add_gaussian_noise(*pair) for pair in zip(self._reduce(hr), parameters, strict=True)])

    def _compress(self, hr: Tensor, quality: int, seeds: Tensor) -> Tensor:
        return torch.stack(compress(list(self._reduce(hr)), [quality] * len(hr)))

    def _resample(self, hr: Tensor, kernel: str, seeds: Tensor) -> Tensor:
        return F.interpolate(hr, size=[n // self.scale for n in hr.shape[-2:]], mode=kernel)

    def _upscale(self, hr: Tensor, factor: float, seeds: Tensor) -> Tensor:
        lr_size = tuple(n // self.scale for n in hr.shape[-2:])
        smaller = tuple(max(1, round(n / factor)) for n in lr_size)
        return imresize(imresize(hr, size=smaller), size=lr_size)
