"""Predictors, which give the results that are evaluated: a net together with its cost, or a folder of result images."""

import re
from collections import Counter
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from sr.data.evaluation_set import check_frames
from sr.data.headers import read_headers
from sr.image.batch import Pair
from sr.image.color import rgb_to_gray
from sr.image.levels import count_bits, to_unit
from sr.image.listing import list_images
from sr.image.read import read_levels
from sr.inference.complexity import Meter, count_parameters
from sr.inference.layout import merge_layers, prepare_net
from sr.inference.memory import advise_tile, report_out_of_memory
from sr.inference.multiply_adds import count_multiply_adds
from sr.inference.tile import choose_tile
from sr.inference.upscale import upscale
from sr.metric.protocol import Protocol as EvaluationProtocol
from sr.runtime.error import UserError

MAX_NET_LENGTH = 14  # characters of a predictor in the name of a run
SEPARATORS = "_-.x "  # between the name of an image and what was appended to it: baby_x4.png, babyx4.png, baby-SR.png


class Predictor(Protocol):
    """Gives the result image for each image of a set."""

    name: str

    @property
    def parameters(self) -> int | None:
        """The number of parameters of the net; None without a net."""
        ...

    @property
    def multiply_adds(self) -> int | None:
        """The multiply-adds of the net for an output of 1280×720 pixels; None without a net, or if unknown."""
        ...

    def start_set(self) -> None:
        """Begin to measure the cost of a new set."""
        ...

    def measure_cost(self) -> dict[str, float]:
        """Return the cost of an image of this set: the median of milliseconds, the largest memory in MiB; {} if unknown."""
        ...

    @property
    def tiles(self) -> Counter[int]:
        """The number of images of this set that were upscaled in tiles, by the side of the tiles in LR pixels."""
        ...

    def predict(self, pair: Pair, names: list[str], set_name: str, gray: bool) -> Tensor:
        """Return the results `[B, C, s·h, s·w]`, float 0…1, for the images of these names.

        `gray`: the file of the HR image has one channel.
        """
        ...


class NetPredictor:
    """A net that upscales LR images; `color` is what its input is, `ensemble` and `tile` are options of `upscale`."""

    def __init__(
        self, net: nn.Module, scale: int, color: str, device: torch.device, ensemble: bool, tile: int | None
    ) -> None:
        self.net, self.color, self.ensemble, self.tile = prepare_net(net, device), color, ensemble, tile
        self._merged = merge_layers(self.net, device)
        self.meter, self.tiles = Meter(device), Counter()
        self.name = getattr(
            net, "architecture", type(net).__name__
        )  # spandrel's nets have the name of what it detected
        self.parameters = count_parameters(net)
        self.multiply_adds = count_multiply_adds(net, net.channels, scale)
        if self.multiply_adds and ensemble:
            self.multiply_adds *= 8

    def start_set(self) -> None:
        self.meter, self.tiles = Meter(self.meter.device), Counter()

    def measure_cost(self) -> dict[str, float]:
        return {"ms_per_image": self.meter.milliseconds, "peak_memory_mb": self.meter.peak / 2**20}

    @torch.inference_mode()
    def predict(self, pair: Pair, names: list[str], set_name: str, gray: bool) -> Tensor:
        (h, w), channels = pair.lr.shape[-2:], pair.lr.shape[1]
        if self.color == "bands" and channels != self.net.channels:
            raise UserError(
                f"{set_name}/{names[0]}: expected images of {self.net.channels} bands, as the network has (found {channels}); "
                "choose them by data=geotiff data.test=[SCENE.tif] metric.depth=16"
            )
        if tile := choose_tile(self.net, (h, w), self.tile):
            self.tiles[tile] += len(names)
        image, advice = f"{set_name}/{names[0]}: an LR of {w}×{h}", advise_tile(self.net, (h, w), self.tile)
        with report_out_of_memory(image, advice), self.meter.measure_call(len(names), pair.lr.numel()):
            return upscale(self._merged, pair.lr, self.color, self.ensemble, self.tile)


class ImagePredictor:
    """The result images in a folder: of each set those in `FOLDER/SET`, or in `FOLDER` itself."""

    parameters = multiply_adds = None
    name = "images"

    def __init__(self, folder: Path, sets: dict[str, list[str]], protocol: EvaluationProtocol) -> None:
        self.protocol, self.tiles = protocol, Counter()
        self.files = {name: _match_files(folder, name, images, protocol.scale) for name, images in sets.items()}

    def start_set(self) -> None:
        pass

    def measure_cost(self) -> dict[str, float]:
        return {}

    def predict(self, pair: Pair, names: list[str], set_name: str, gray: bool) -> Tensor:
        """Return the images of these names, cut to HR's size, with HR's channels."""
        return torch.cat([self._read(self.files[set_name][name], pair.hr, gray) for name in names]).to(pair.hr.device)

    def _read(self, file: Path, hr: Tensor, gray: bool) -> Tensor:
        pixels = read_levels(file)
        bits = count_bits(pixels.dtype)
        if bits != self.protocol.depth:
            raise UserError(
                f"{file}: expected {self.protocol.depth} bits per channel, the depth of the protocol (found {bits})"
            )
        (h, w), (c, height, width) = hr.shape[-2:], pixels.shape
        scale = self.protocol.scale  # HR may have been cut to a multiple of it, by less than that
        if height < h or width < w or height - h >= scale or width - w >= scale:
            raise UserError(f"{file}: expected {w}×{h} pixels, as HR has (found {width}×{height}): is scale= right?")
        rgb = pixels[None, :, :h, :w].expand(-1, 3, -1, -1)
        if hr.shape[1] == 1 and self.protocol.color == "gray":
            return to_unit(rgb_to_gray(rgb), hr.dtype)
        if self.protocol.channel == "y8" and c == 1 and not gray:
            raise UserError(
                f"{file}: expected RGB, as HR is (found gray); metric=vdsr needs luma of 16…235: save it as RGB"
            )
        return to_unit(self.protocol.select_channels(rgb, gray), hr.dtype)


def list_tags(config: dict[str, Any]) -> dict[str, str]:
    """Return the tags of a run that say what it evaluates."""
    keys = ("checkpoint", "interpolate", "alpha", "images", "input", "ensemble", "tile")
    return {f"sr.{key}": str(config[key]) for key in keys if config[key] is not None and config[key] is not False}


def _match_files(folder: Path, set_name: str, images: list[str], scale: int) -> dict[str, Path]:
    """Return the result file of each image; raise with all images whose file is missing or ambiguous."""
    folder = folder / set_name if (folder / set_name).is_dir() else folder
    files = list_images(folder, "images")
    matches, errors = {}, []
    for image in images:
        longer = tuple(other for other in images if len(other) > len(image))  # bird_2.png is never the result of bird
        exact = [file for file in files if file.stem == image]
        extended = [f for f in files if _is_extension(f.stem, image, scale) and not f.stem.startswith(longer)]
        candidates = exact or extended
        if len(candidates) == 1:
            matches[image] = candidates[0]
        else:
            ambiguous = " or ".join(file.name for file in candidates[:3])
            errors.append(f"{image} ({ambiguous})" if candidates else image)
    if errors:
        raise UserError(
            f"images={folder}: expected one result for each image of {set_name} (found none, or several, for "
            f"{len(errors)} of {len(images)} images: {', '.join(errors[:5])}{' …' if len(errors) > 5 else ''}); "
            f"name them {images[0]}.png or {images[0]}_x{scale}.png"
        )
    headers = zip(matches.values(), read_headers(list(matches.values())), strict=True)
    check_frames(headers, f"images={folder}")
    return matches


def _is_extension(stem: str, image: str, scale: int) -> bool:
    """Return whether a file name is the name of `image` with something appended, and not with another scale."""
    suffix = stem.removeprefix(image)
    has_other_scale = re.match(r"[-_]?x\d", suffix) and not re.match(rf"[-_]?x{scale}", suffix)
    return stem.startswith(image) and suffix[:1] in tuple(SEPARATORS) and not has_other_scale
