"""What is evaluated: a net with its cost, or pictures that were made elsewhere."""

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sr.image.batch import Pair
from sr.image.color import rgb_to_gray as to_gray
from sr.image.read import list_images, read_image
from sr.inference.complexity import Meter, count_multiply_adds, count_parameters
from sr.inference.memory import report_out_of_memory
from sr.inference.upscale import upscale
from sr.metric.protocol import Protocol
from sr.runtime.error import UserError

SEPARATORS = "_-.x "  # what may part a picture's name from what was appended: baby_x4.png, babyx4.png, baby-SR.png


class NetPredictor:
    """A net, applied to LR under `color`, and what that costs."""

    def __init__(
        self, net: nn.Module, scale: int, color: str, device: torch.device, ensemble: bool, tile: int | None
    ) -> None:
        self.net, self.color, self.ensemble, self.tile = net.to(device).eval(), color, ensemble, tile
        self.meter = Meter(device)
        self.name = getattr(net, "architecture", type(net).__name__)  # spandrel says what it found
        self.parameters = count_parameters(net)
        self.multiply_adds = count_multiply_adds(net, 3 if color == "rgb" else 1, scale)
        if self.multiply_adds and ensemble:
            self.multiply_adds *= 8

    def start_set(self) -> None:
        """A new set: its pictures' cost is counted on its own."""
        self.meter = Meter(self.meter.device)

    def measure_cost(self) -> dict[str, float]:
        """What one picture of this set cost: the median milliseconds, the largest memory in MiB."""
        return {"ms_per_image": self.meter.milliseconds, "peak_memory_mb": self.meter.peak / 2**20}

    @torch.inference_mode()
    def predict(self, pair: Pair, names: list[str], set_name: str, gray: bool) -> Tensor:
        """The enlarged LR, `[B, C, s·h, s·w]`, float 0…1."""
        size = f"{pair.lr.shape[3]}×{pair.lr.shape[2]}"
        with report_out_of_memory(f"{set_name}/{names[0]}: an LR of {size}"), self.meter.measure_call(len(names)):
            return upscale(self.net, pair.lr, self.color, self.ensemble, self.tile)


class ImagePredictor:
    """Result pictures of a folder: of each set those in `FOLDER/SET`, or in `FOLDER` itself."""

    parameters = multiply_adds = None
    name = "images"

    def __init__(self, folder: Path, sets: dict[str, list[str]], protocol: Protocol) -> None:
        self.protocol = protocol
        self.files = {name: _matched(folder, name, pictures, protocol.scale) for name, pictures in sets.items()}

    def start_set(self) -> None:
        """Nothing is counted."""

    def measure_cost(self) -> dict[str, float]:
        """Nothing is known."""
        return {}

    def predict(self, pair: Pair, names: list[str], set_name: str, gray: bool) -> Tensor:
        """The pictures of these names, cut to HR's size, with HR's channels; `gray`: HR's file has one channel."""
        return torch.cat([self._read(self.files[set_name][name], pair.hr, gray) for name in names]).to(pair.hr.device)

    def _read(self, file: Path, hr: Tensor, gray: bool) -> Tensor:
        pixels = read_image(file).pixels
        (h, w), (c, height, width) = hr.shape[-2:], pixels.shape
        scale = self.protocol.scale  # HR may have been cut to a multiple of it, by less than that
        if height < h or width < w or height - h >= scale or width - w >= scale:
            raise UserError(f"{file}: {width}×{height} pixels, but HR has {w}×{h}: is scale= right?")
        colour = pixels[None, :, :h, :w].expand(-1, 3, -1, -1)
        if hr.shape[1] == 1 and self.protocol.color == "gray":
            return to_gray(colour) / 255
        if self.protocol.channel == "y8" and c == 1 and not gray:
            raise UserError(f"{file} is gray, but HR is in colour: by metric=vdsr its luma has 16…235, save it as RGB")
        return self.protocol.select_channels(colour, gray) / 255


def _matched(folder: Path, set_name: str, pictures: list[str], scale: int) -> dict[str, Path]:
    """Which file is the result of which picture; raises with all that are missing or ambiguous."""
    place = folder / set_name if (folder / set_name).is_dir() else folder
    files = list_images(place, "images")
    found, faults = {}, []
    for picture in pictures:
        longer = [other for other in pictures if len(other) > len(picture)]  # bird_2.png is bird_2's, never bird's
        exact = [file for file in files if file.stem == picture]
        begun = [f for f in files if _continues(f.stem, picture, scale) and not f.stem.startswith(tuple(longer))]
        candidates = exact or begun
        if len(candidates) == 1:
            found[picture] = candidates[0]
        else:
            which = " or ".join(file.name for file in candidates[:3])
            faults.append(f"{picture} ({which})" if candidates else picture)
    if faults:
        raise UserError(
            f"images={place}: of {set_name}, no single result was found for {len(faults)} of {len(pictures)} pictures: "
            f"{', '.join(faults[:5])}{' …' if len(faults) > 5 else ''}. "
            f"Expected names such as {pictures[0]}.png or {pictures[0]}_x{scale}.png"
        )
    return found


def _continues(stem: str, picture: str, scale: int) -> bool:
    """Whether a file's name is that of `picture` with something appended, and not with another scale."""
    rest = stem.removeprefix(picture)
    other_scale = re.match(r"[-_]?x\d", rest) and not re.match(rf"[-_]?x{scale}", rest)
    return stem.startswith(picture) and rest[:1] in tuple(SEPARATORS) and not other_scale


Predictor = NetPredictor | ImagePredictor


def list_tags(config: dict[str, Any]) -> dict[str, str]:
    """What a run says of its subject."""
    shown = ("checkpoint", "interpolate", "alpha", "images", "ensemble", "tile")
    return {f"sr.{key}": str(config[key]) for key in shown if config[key] is not None and config[key] is not False}
