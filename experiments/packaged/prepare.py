"""Make the folders `train` and `val` from the photographs that `LIST` names: `prepare.py SOURCES TARGET [TILE SIDES …]`.

`SOURCES` has a folder for each source in the list, of the name that the list gives it, with the files at any depth. Large
photographs are smooth at their full size, so each is scaled to each of `SIDES` (default: 1600 800) pixels on its longer side.
Those for training are cut into tiles of `TILE` (default: 384) pixels, of which the half that bicubic interpolation restores
best is left out: there is nothing to learn in them. `TILE` should be a multiple of 2, 3 and 4.
"""

import csv
import sys
from pathlib import Path

import numpy as np
from PIL import Image

LIST = Path(__file__).parents[2] / "sr" / "pretrained" / "weights" / "photographs.csv"
VAL_SIDE = 800  # pixels on the longer side of a photograph for validation
MIN_REDUCTION = 1.3  # times a side; less would only blur
USED_SHARE = 0.5  # share of the tiles


def read_photographs(sources: Path) -> list[tuple[str, Path]]:
    """Return the split and the file of each photograph in the list."""
    with LIST.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [(row["split"], next((sources / row["source"]).rglob(row["file"]))) for row in rows]


def reduce_photograph(photo: Image.Image, sides: list[int]) -> list[Image.Image]:
    """Return the photograph at each of the sizes, or as it is if it is hardly larger than the smallest of them."""
    factors = [max(photo.size) / side for side in sides]
    sizes = [(round(photo.width / f), round(photo.height / f)) for f in factors if f >= MIN_REDUCTION]
    return [photo.resize(size, Image.Resampling.LANCZOS) for size in sizes] or [photo]


def cut_tiles(image: Image.Image, side: int) -> list[Image.Image]:
    """Return the tiles of an image, without the rest at its right and lower edges."""
    corners = [(x, y) for y in range(0, image.height - side + 1, side) for x in range(0, image.width - side + 1, side)]
    return [image.crop((x, y, x + side, y + side)) for x, y in corners]


def measure_detail(tile: Image.Image) -> float:
    """Return the root mean square of what bicubic interpolation from half the size loses, in levels."""
    gray = tile.convert("L")
    half = gray.resize((gray.width // 2, gray.height // 2), Image.Resampling.BICUBIC)
    lost = np.asarray(gray, float) - np.asarray(half.resize(gray.size, Image.Resampling.BICUBIC), float)
    return float(np.sqrt((lost**2).mean()))


def main() -> None:
    """Write the images of both splits."""
    sources, target = map(Path, sys.argv[1:3])
    tile_side, *sides = map(int, sys.argv[3:] or ("384", "1600", "800"))
    tiles: list[tuple[float, str, Image.Image]] = []
    for split in ("train", "val"):
        (target / split).mkdir(parents=True, exist_ok=True)
    for split, path in read_photographs(sources):
        photo = Image.open(path).convert("RGB")
        stem = path.stem.replace(" ", "_")
        if split == "val":
            reduce_photograph(photo, [VAL_SIDE])[0].save(target / "val" / f"{stem}.png")
            continue
        for image in reduce_photograph(photo, sides):
            found = enumerate(cut_tiles(image, tile_side))
            tiles += [(measure_detail(t), f"{stem}_{image.width}_{k}.png", t) for k, t in found]
    tiles.sort(key=lambda entry: entry[0], reverse=True)
    for _, name, tile in tiles[: round(USED_SHARE * len(tiles))]:
        tile.save(target / "train" / name)


if __name__ == "__main__":
    main()
