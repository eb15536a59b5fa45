"""Make the pairs of the study: `prepare.py TEACHER TARGET FOLDERS …`.

`TEACHER` is a weight file; it gives the scale. `TARGET` gets three folders of PNG files of the same names: `lr`, bicubic LR of
each image of `FOLDERS`; `teacher`, what the teacher makes of LR; and `hr`, the image itself, cropped to a multiple of the
scale. Images smaller than a patch, 32 pixels of LR, are left out. Files that exist are not made again.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import sr
from sr.checkpoint.load import LoadedNet
from sr.image.listing import list_images
from sr.image.resize import imresize

LEAKS = ("302003",)  # the woman of Set5, which is an image of BSDS500/train as well
MIN_LR_SIDE = 32


def prepare_image(path: Path, names: list[Path], model: LoadedNet) -> None:
    """Write the three files of one image."""
    hr = np.asarray(Image.open(path).convert("RGB"))
    height, width = (n // model.scale * model.scale for n in hr.shape[:2])
    if min(height, width) < MIN_LR_SIDE * model.scale:
        return
    hr = hr[:height, :width]
    levels = torch.from_numpy(hr.copy()).permute(2, 0, 1)
    lr = imresize(levels, 1 / model.scale).permute(1, 2, 0).numpy()
    for name, image in zip(names, (lr, sr.upscale(model, lr), hr), strict=True):
        part = name.with_suffix(".part")
        Image.fromarray(image).save(part, "PNG")
        part.replace(name)  # an interruption leaves no half of a file


def main() -> None:
    """Write all files that are missing."""
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    teacher, target, *folders = map(Path, sys.argv[1:])
    model = sr.load(teacher)
    parts = [target / part for part in ("lr", "teacher", "hr")]
    for part in parts:
        part.mkdir(parents=True, exist_ok=True)
    files: dict[str, Path] = {}
    for folder in folders:
        for file in list_images(folder, "FOLDERS"):
            name = f"{folder.name}_{file.stem}.png"
            if files.setdefault(name, file) != file:
                sys.exit(f"{file} and {files[name]}: both would be written as {name}; rename one of the folders")
    for k, (name, file) in enumerate(files.items()):
        names = [part / name for part in parts]
        if file.stem not in LEAKS and not names[-1].exists():  # the last one that is written
            prepare_image(file, names, model)
        print(f"\r{k + 1} of {len(files)}", end="", file=sys.stderr)


if __name__ == "__main__":
    main()
