"""`data=geotiff data.path=DIR`: satellite scenes of any number of bands, split by scene; LR is made from them.

Pixels without data are in no training patch and in no metric. A scene is never in two sets: of one scene alone, contiguous
blocks of rows are held out.
"""

import itertools
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch.nn.functional as F
from torch import Tensor

from sr.data.evaluation_set import smallest_side
from sr.data.folder import find_folder, format_paths, to_list
from sr.data.image_part import name_images
from sr.data.module import SRDataModule
from sr.data.scene_window import SceneWindow, describe_window, has_8_bits, open_scene
from sr.data.source import ImageFiles, Split
from sr.image.file_format import Header, ReadOptions, Window
from sr.image.listing import list_images
from sr.metric.protocol import Protocol
from sr.runtime.error import UserError
from sr.runtime.option_types import PathStr, PositiveInt, ValueRange
from sr.runtime.terminal import print_note

HELD_OUT_INTERVAL, MAX_HELD_OUT = 10, 20  # every tenth scene is tested on, 20 at most; as many are validated on
SHARES: dict[Split, float] = {"test": 0.2, "val": 0.1}  # of the rows of a single scene
GAP = 32  # HR pixels between the rows of two sets of a single scene: more than a degradation or a patch border reaches
SUFFIXES = (".tif", ".tiff")


class Scene(NamedTuple):
    """A scene that was opened."""

    path: Path
    name: str
    header: Header  # as the file has it, of the bands that are read
    whole: SceneWindow


class GeoTiff(SRDataModule):
    """Scenes of `path`: GeoTIFFs, or folders of them.

    `bands` are read, all if None. `range` are the values that become 0 and 1; it is cut off there. A scene that is evaluated
    is divided into parts of about `block` pixels a side, without those that have no data at all.
    """

    name = "geotiff"

    def __init__(
        self,
        *,
        path: PathStr | Sequence[PathStr] | None,
        channels: PositiveInt,
        bands: Sequence[PositiveInt] | None = None,
        range: ValueRange | None = None,
        block: PositiveInt = 256,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.path, self.channels, self.block = path, channels, block
        self.options = ReadOptions(
            bands=None if bands is None else tuple(bands),
            range=None if range is None else (float(range[0]), float(range[1])),
        )

    def set_protocol(self, protocol: Protocol) -> None:
        """Prepare scenes as a protocol evaluates them. Raise `UserError` if it has another range."""
        super().set_protocol(protocol)
        if protocol.range != self.options.range:
            raise UserError(
                f"metric.range={protocol.range}: expected that of the data, data.range={self.options.range}; leave it out"
            )

    def find_images(self, split: Split) -> ImageFiles | None:
        if not self.path:
            if split == "train" or self.name in self.sets[split]:
                raise UserError("data=geotiff needs your scenes: data.path=DIR, or the path of one")
            return None
        parts = self._parts[split]
        return ImageFiles(parts) if parts or split == "train" else None

    def find_set(self, name: str, option: str) -> Path:
        """Return the folder of an evaluation set, or the file if it is a single scene."""
        files = (Path(name).expanduser(), self.root.expanduser() / name)
        return next((file for file in files if file.is_file()), None) or super().find_set(name, option)

    def find_set_images(self, folder: Path, option: str) -> ImageFiles:
        scenes = self._open_scenes([folder], f"{option}={folder}")
        trained = {scene.path.resolve() for scene in self._scenes} if self.path else set()
        both = [scene.path for scene in scenes if scene.path.resolve() in trained]
        if both and self.train_set is not None:
            raise UserError(
                f"{option}={folder}: {both[0]} is in data.path as well; leave it out there, or evaluate on held-out scenes: "
                f"{option}=[{self.name}]"
            )
        return ImageFiles([part for scene in scenes for part in self._divide(scene, _get_rows(scene))])

    def describe_own_set(self, split: Split) -> str:
        return self._note

    @property
    def training_name(self) -> str:
        """The names of the folders or scenes, as they were typed."""
        return "+".join(Path(str(name)).stem for name in to_list(self.path))

    @cached_property
    def _scenes(self) -> list[Scene]:
        return self._open_scenes([Path(name) for name in to_list(self.path)], f"data.path={format_paths(self.path)}")

    @property
    def _own_splits(self) -> list[Split]:
        """Return the splits that name this source's own set."""
        return [split for split in SHARES if self.name in self.sets[split]]

    @cached_property
    def _parts(self) -> dict[Split, list[SceneWindow]]:
        """Return the parts of each set."""
        if not self._own_splits:
            return {"train": [scene.whole for scene in self._scenes], "val": [], "test": []}
        if self._note:
            print_note(f"data.path={format_paths(self.path)}: {self._note}")
        if len(self._scenes) == 1:
            return self._split_rows(self._scenes[0])
        held_out = self._held_out
        parts: dict[Split, list[SceneWindow]] = {
            split: [part for scene in held_out[split] for part in self._divide(scene, _get_rows(scene))]
            for split in held_out
        }
        others = {scene.path for scenes in held_out.values() for scene in scenes}
        return parts | {"train": [scene.whole for scene in self._scenes if scene.path not in others]}

    @cached_property
    def _held_out(self) -> dict[Split, list[Scene]]:
        """Return the held-out scenes of several: different ones for validation and test, if there are three or more."""
        shift = int(len(self._scenes) > 2 and len(self._own_splits) == 2)
        test, val = (self._scenes[start::HELD_OUT_INTERVAL][:MAX_HELD_OUT] for start in (0, shift))
        return {split: scenes for split, scenes in (("test", test), ("val", val)) if split in self._own_splits}

    @cached_property
    def _note(self) -> str:
        """Return a sentence about what is held out; empty if nothing is."""
        if not self._own_splits:
            return ""
        if len(self._scenes) > 1:
            names = {split: ", ".join(scene.name for scene in scenes) for split, scenes in self._held_out.items()}
            whole = "; ".join(f"{split}: {names[split]}" for split in names)
            return f"of {len(self._scenes)} scenes, held out are {whole}"
        rows = _divide_rows(self._scenes[0], self._own_splits, self.scale)
        held_out = " and ".join(
            f"{rows[split].start} to {rows[split].stop - 1} ({split})" for split in self._own_splits
        )
        return (
            f"one scene: its rows {held_out} are held out, {GAP} before them are not used; the numbers say nothing of "
            "other scenes"
        )

    def _split_rows(self, scene: Scene) -> dict[Split, list[SceneWindow]]:
        """Divide a single scene: the rows at its bottom are held out."""
        rows = _divide_rows(scene, self._own_splits, self.scale)
        least = smallest_side(self.scale)
        if min(map(len, rows.values())) < least:
            raise UserError(
                f"data.path={scene.path}: {scene.header.height} rows, too few to hold some out; add scenes, or evaluate on "
                "others: data.val=[DIR] data.test=[DIR]"
            )
        parts = {split: self._divide(scene, rows[split]) for split in self._own_splits}
        window = Window(rows["train"].start, 0, len(rows["train"]), scene.header.width)
        return {"val": [], "test": [], **parts, "train": [self._create_part(scene, window, scene.name)]}

    def _divide(self, scene: Scene, rows: range) -> list[SceneWindow]:
        """Return the parts of some rows of a scene that have data, of about `block` pixels a side."""
        vertical = _divide_evenly(rows, self.block, self.scale)
        horizontal = _divide_evenly(range(scene.header.width), self.block, self.scale)
        windows = [Window(y.start, x.start, len(y), len(x)) for y in vertical for x in horizontal]
        if scene.header.has_mask:
            with open_scene(scene.path, self.options) as file:
                windows = [window for window in windows if _has_data(file.read(0, window).valid, self.scale)]
        return [self._create_part(scene, x, f"{scene.name}_{x.top}_{x.left}_{x.height}x{x.width}") for x in windows]

    def _create_part(self, scene: Scene, window: Window, name: str) -> SceneWindow:
        header = scene.whole.header._replace(height=window.height, width=window.width)
        # The parts of a scene with a mask have unequal numbers of pixels, which no value of the whole scene accounts for.
        group = "" if header.has_mask else scene.name
        return SceneWindow(scene.path, window, self.options, header, name, group)

    def _open_scenes(self, paths: Iterable[Path], option: str) -> list[Scene]:
        """Open all scenes, and check that they fit the network, and that there is a range. `option` is for errors."""
        files = [file for path in paths for file in self._list_files(path, option)]
        names = name_images(files)
        scenes, ranges = [], []
        for path, name in zip(files, names, strict=True):
            with open_scene(path, self.options) as file:
                header = file.header
                self._check_bands(path, header)
                if self.options.range is None and not has_8_bits(file):
                    ranges.append((header.black, header.white))
                window = Window(0, 0, header.height, header.width)
                whole = SceneWindow(path, window, self.options, describe_window(file, window), name, name)
                scenes.append(Scene(path, name, header, whole))
        if ranges:
            black, white = min(low for low, _ in ranges), max(high for _, high in ranges)
            raise UserError(
                f"data.range: expected the values that become 0 and 1 (found none, and {option} has no levels of 8 bits); in "
                f"each scene 0.1 % of the samples are below {black:g} or less, and above {white:g} or more: "
                f"data.range=[{black:g},{white:g}]"
            )
        return scenes

    def _list_files(self, path: Path, option: str) -> list[Path]:
        typed = path.expanduser()
        found = typed if typed.exists() else self.root.expanduser() / path
        if found.is_file():
            return [found]
        files = [
            file for file in list_images(find_folder(str(path), self.root), option) if file.suffix.lower() in SUFFIXES
        ]
        if not files:
            raise UserError(f"{option}: expected GeoTIFFs, .tif (found none)")
        return files

    def _check_bands(self, path: Path, header: Header) -> None:
        allowed = (1, 3) if self.color in ("rgb", "y", "gray") else (self.channels,)
        if header.channels not in allowed:
            expected = " or ".join(map(str, allowed))
            raise UserError(
                f"{path}: expected {expected} bands, for color={self.color} (found {header.channels}); type "
                f"color=bands channels={header.channels}, or choose some, such as data.bands="
                f"[{','.join(map(str, list(range(1, allowed[-1] + 1))))}]"
            )


def _get_rows(scene: Scene) -> range:
    return range(scene.header.height)


def _divide_rows(scene: Scene, used: Sequence[Split], scale: int) -> dict[Split, range]:
    """Return the rows of a single scene's sets, the first one of each a multiple of `scale`; the test set is at the bottom."""
    rows, stop = {}, scene.header.height
    for split in used:
        start = (stop - max(1, round(SHARES[split] * scene.header.height))) // scale * scale
        rows[split] = range(max(0, start), stop)
        stop = max(0, start - GAP)
    return rows | {"train": range(stop)}


def _divide_evenly(pixels: range, side: int, scale: int) -> list[range]:
    """Divide rows or columns into parts of nearly equal length, about `side`; the first one of each a multiple of `scale`."""
    count = max(1, round(len(pixels) / side))
    bounds = [pixels.start + k * len(pixels) // count // scale * scale for k in range(count)] + [pixels.stop]
    return [range(a, b) for a, b in itertools.pairwise(bounds)]


def _has_data(valid: Tensor | None, scale: int) -> bool:
    """Return whether a part has a window of SSIM in which all pixels are data, within the border that is not measured."""
    if valid is None:
        return True
    side = smallest_side(scale)
    whole = valid.all(dim=0).float()[None, None]
    return min(whole.shape[-2:]) >= side and bool((F.avg_pool2d(whole, side, 1) == 1).any())
