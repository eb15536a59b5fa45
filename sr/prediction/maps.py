"""`uncertainty=…`: maps next to a result: where is the network unsure, and what of the result contradicts the image?"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil
import torch
from PIL import Image
from torch import Tensor, nn

from sr.checkpoint.load import LoadedNet
from sr.degrade.bicubic import Bicubic
from sr.image.color import rgb_to_gray
from sr.image.file_format import ReadOptions
from sr.image.heat_map import LR_ERROR_RANGE, SPREAD_RANGE, describe_range, draw_heat_map
from sr.image.read import open_image_file
from sr.image.write import write_atomically
from sr.inference.memory import report_out_of_memory
from sr.inference.spread import describe_source, measure_spread
from sr.metric.lr_psnr import compute_lr_error
from sr.prediction.jobs import Job
from sr.prediction.preview import read_levels
from sr.runtime.error import UserError
from sr.runtime.free_memory import measure_free_memory

RANGES = {"spread": SPREAD_RANGE, "lr_error": LR_ERROR_RANGE}  # levels of 8 bits that the lightest color stands for
PIXEL_BYTES = 48  # of a result that are held while its maps are made: results and maps in float, and their differences
LEGEND = (
    f"the maps: black 0, light yellow {SPREAD_RANGE} levels of 8 bits and more; where the spread is large, the network is "
    "unsure, but a small spread does not prove that the result is true"
)
_IMAGE_DESCRIPTION = 270  # a tag of TIFF


class MapSummary(NamedTuple):
    """The root mean square of the maps of an image, in levels of 8 bits of its range."""

    spread: float
    lr_error: float

    def describe(self) -> str:
        """Return `spread 1.52, LR error 0.79 levels`."""
        return f"spread {self.spread:.2f}, LR error {self.lr_error:.2f} levels"


def name_maps(jobs: Sequence[Job]) -> dict[Path, list[Path]]:
    """Return the files of the maps of each target: `photo_x2_spread.png`, `photo_x2_lr_error.png`; of TIFF also as `.tif`.

    Of two targets that differ in the suffix alone, the suffix is part of the names.
    """
    counts = Counter(str(job.target.with_suffix("")).casefold() for job in jobs)
    names = {}
    for target, kind in ((job.target, job.format.name) for job in jobs):
        is_unique = counts[str(target.with_suffix("")).casefold()] == 1
        stem = target.stem if is_unique else target.name.replace(".", "_")
        suffixes = (".png", ".tif") if kind == "TIFF" else (".png",)
        names[target] = [target.with_name(f"{stem}_{what}{suffix}") for what in RANGES for suffix in suffixes]
    return names


class MapWriter:
    """Makes the maps of image files. `members` are further nets; without any, flips and rotations are compared."""

    def __init__(
        self, model: LoadedNet, members: Sequence[nn.Module], config: Mapping[str, object], read: ReadOptions
    ) -> None:
        self.model, self.nets, self.read = model, [model.net, *members], read
        self.ensemble, self.tile, self.memory = config["ensemble"], config["tile"], config["memory"]
        self.degrade = Bicubic(model.scale)

    def write(self, source: Path, targets: Sequence[Path]) -> MapSummary:
        """Write the maps of an image, first frame, 1 or 3 bands, or those of the network.

        Raise `UserError` if it has others, or needs too much memory.
        """
        with open_image_file(source, self.read) as file:
            header = file.header
            allowed = (self.model.channels,) if self.model.color == "bands" else (1, 3)
            if header.frames > 1 or header.channels not in allowed:
                parts = f"{header.frames} frames" if header.frames > 1 else f"{header.channels} bands"
                expected = " or ".join(map(str, allowed))
                raise UserError(
                    f"{source.name}: no maps, which are made of one frame of {expected} bands (found {parts})"
                )
            self._check_memory(source, header.height * header.width)
            lr = read_levels(file, has_all_bands=self.model.color == "bands")
            valid = file.read().valid if header.has_mask else None
        is_8_bit = header.dtype == torch.uint8
        with report_out_of_memory(
            f"{source.name}: its maps", "leave uncertainty out, or use a machine with more memory"
        ):
            maps = dict(zip(RANGES, self._compute(lr[None], is_8_bit), strict=True))
        data = {what: _resize_mask(valid, values) for what, values in maps.items()}
        maps = {what: values.where(data[what], 0) for what, values in maps.items()}
        for target in targets:
            what = next(name for name in RANGES if target.stem.endswith(f"_{name}"))
            self._write_map(target, what, maps[what])
        squares = {
            what: values.double().square().sum() / data[what].sum().clamp(min=1) for what, values in maps.items()
        }
        return MapSummary(**{what: square.sqrt().item() for what, square in squares.items()})

    def _compute(self, lr: Tensor, is_8_bit: bool) -> tuple[Tensor, Tensor]:
        """Return spread `[s·h, s·w]` and LR error `[h, w]`, in levels of 8 bits, of an image `[1, 1 or 3, h, w]` in 0…1."""
        if self.model.color != "bands":
            lr = rgb_to_gray(lr) if self.model.color == "gray" else lr.expand(-1, 3, -1, -1)
        lr = lr.to(self.model.device)
        sr, spread = measure_spread(
            self.nets, lr, self.model.color, self.ensemble, self.tile, lambda image: image * 255
        )
        sr = sr.clamp(0, 1)
        if is_8_bit:
            error = compute_lr_error((sr * 255).round() / 255, lr, self.degrade)
        else:  # not rounded to 8 bits
            error = compute_lr_error(sr, lr.double(), self.degrade)
        return spread[0, 0], error[0, 0]

    def _write_map(self, target: Path, what: str, values: Tensor) -> None:
        titles = {"spread": f"Standard deviation over {describe_source(len(self.nets), self.ensemble)}",
                  "lr_error": f"Difference of the degraded result, {self.degrade!r}, to the image"}  # fmt: skip
        with write_atomically(target) as path:
            if target.suffix == ".tif":
                image = Image.fromarray(values.float().cpu().numpy())
                text = f"{titles[what]}; levels of 8 bits"
                image.save(path, "TIFF", compression="tiff_adobe_deflate", tiffinfo={_IMAGE_DESCRIPTION: text})
            else:
                info = describe_range(titles[what], RANGES[what], "levels of 8 bits")
                draw_heat_map(values, RANGES[what]).save(path, "PNG", pnginfo=info)

    def _check_memory(self, source: Path, pixels: int) -> None:
        in_use = psutil.Process().memory_info().rss
        budget = measure_free_memory() // 2 if self.memory is None else self.memory - in_use
        needed = PIXEL_BYTES * pixels * self.model.scale**2
        if needed > budget:
            raise UserError(
                f"{source.name}: no maps, which need {needed / 1e9:.1f} GB of memory (found {max(budget, 0) / 1e9:.1f} GB); "
                "upscale a part of the image, or set memory="
            )


def _resize_mask(valid: Tensor | None, values: Tensor) -> Tensor:
    """Return where a map has data, `[H, W]`, of the mask `[1 or C, h, w]` of the source."""
    if valid is None:
        return torch.ones_like(values, dtype=torch.bool)
    factor = values.shape[-1] // valid.shape[-1]
    known = valid.all(dim=0).repeat_interleave(factor, 0).repeat_interleave(factor, 1)
    return known.to(values.device)
