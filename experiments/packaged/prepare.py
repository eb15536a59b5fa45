"""Make the folders `train` and `val` from the photographs that `LIST` names: `prepare.py SOURCES TARGET`.

`SOURCES` has a folder for each source in the list, of the name that the list gives it, with the files at any depth. Large
photographs are smooth at their full size, so each is scaled to `SIDES` pixels on its longer side. Those for training
are cut into tiles, of which the half that bicubic interpolation restores best is left out: there is nothing to learn in them.
"""

import csv
import sys
from pathlib import Path

import numpy as np
from PIL import Image

LIST = Path(__file__).parents[2] / "sr" / "pretrained" / "weights" / "photographs.csv"
SIDES = (1600, 800)  # a photograph that is hardly larger than the last of them stays as it is
MIN_REDUCTION = 1.3  # times a side; less would only blur
TILE = 384  # pixels; a multiple of 2, 3 and 4
USED_SHARE = 0.5  # share of the tiles


def read_photographs(sources: Path) -> list[tuple[str, Path]]:
    """Return the split and the file of each photograph in the list."""
    with LIST.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [(row["split"], next((sources / row["source"]).rglob(row["file"]))) for row in rows]


def reduce_photograph(photo: Image.Image) -> list[Image.Image]:
    """Return the photograph at each of the sizes, or as it is if it is small."""
    factors = [max(photo.size) / side for side in SIDES]
    sizes = [(round(photo.width / f), round(photo.height / f)) for f in factors if f >= MIN_REDUCTION]
    return [photo.resize(size, Image.Resampling.LANCZOS) for size in sizes] or [photo]


def cut_tiles(image: Image.Image) -> list[Image.Image]:
    """Return the tiles of an image, without the rest at its right and lower edges."""
    corners = [(x, y) for y in range(0, image.height - TILE + 1, TILE) for x in range(0, image.width - TILE + 1, TILE)]
    return [image.crop((x, y, x + TILE, y + TILE)) for x, y in corners]


def measure_detail(tile: Image.Image) -> float:
    """Return the root mean square of what bicubic interpolation from half the size loses, in levels."""
    gray = tile.convert("L")
    half = gray.resize((TILE // 2, TILE // 2), Image.Resampling.BICUBIC)
    lost = np.asarray(gray, float) - np.asarray(half.resize(gray.size, Image.Resampling.BICUBIC), float)
    return float(np.sqrt((lost**2).mean()))


def main() -> None:
    """Write the images of both splits."""
    sources, target = map(Path, sys.argv[1:])
    tiles: list[tuple[float, str, Image.Image]] = []
    for split in ("train", "val"):
        (target / split).mkdir(parents=True, exist_ok=True)
    for split, path in read_photographs(sources):
        images = reduce_photograph(Image.open(path).convert("RGB"))
        stem = path.stem.replace(" ", "_")
        if split == "val":
            images[-1].save(target / "val" / f"{stem}.png")
            continue
        for image in images:
            tiles += [(measure_detail(t), f"{stem}_{image.width}_{k}.png", t) for k, t in enumerate(cut_tiles(image))]
    tiles.sort(key=lambda entry: entry[0], reverse=True)
    for _, name, tile in tiles[: round(USED_SHARE * len(tiles))]:
        tile.save(target / "train" / name)


if __name__ == "__main__":
    main()
