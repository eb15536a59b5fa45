"""Make the sets of the study from two Sentinel-2 scenes: `prepare.py TRAINING_SCENE TEST_SCENE TARGET`.

Both are TIFF files of the 10 m bands, uint16 `[bands, H, W]`, red, green and blue first. `TARGET` gets `few/nN_sS` (N tiles
of the training scene, drawn by seed S; those of a smaller N are among those of a larger one), `few/val` and `few/same` (tiles
of the training scene that are in none of these) and `few/other` (parts of the test scene).
"""

import sys
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

WHITE = 3558  # of uint16, which becomes 255: a reflectance of 0.3558, as in Sentinel-2's own true-color images
TRAINING_TILE, TEST_TILE = 74, 200  # pixels
COUNTS, SEEDS = (1, 10, 50), (0, 1, 2)


def cut_tiles(path: Path, side: int) -> list[Image.Image]:
    """Return the scene in tiles of RGB, 8 bits."""
    bands = tifffile.imread(path)[:3].astype(float)
    levels = (bands / WHITE * 255).round().clip(0, 255).astype(np.uint8).transpose(1, 2, 0)
    height, width = levels.shape[:2]
    corners = [(y, x) for y in range(0, height - side + 1, side) for x in range(0, width - side + 1, side)]
    return [Image.fromarray(levels[y : y + side, x : x + side]) for y, x in corners]


def write(tiles: list[Image.Image], numbers: list[int], folder: Path) -> None:
    """Write the tiles of these numbers."""
    folder.mkdir(parents=True)
    for number in numbers:
        tiles[number].save(folder / f"tile{number:02}.png")


def main() -> None:
    """Write all sets."""
    training, test, target = map(Path, sys.argv[1:])
    tiles, parts = cut_tiles(training, TRAINING_TILE), cut_tiles(test, TEST_TILE)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(tiles)).tolist()
    usable, val, same = order[: max(COUNTS)], order[-2:], order[max(COUNTS) : -2]
    write(tiles, val, target / "few" / "val")
    write(tiles, same, target / "few" / "same")
    for seed in SEEDS:
        drawn = np.random.default_rng(seed).permutation(usable).tolist()
        for count in COUNTS:
            write(tiles, drawn[:count], target / "few" / f"n{count}_s{seed}")
    write(parts, list(range(len(parts))), target / "few" / "other")


if __name__ == "__main__":
    main()
