"""Compare `sr.predict` with bare loops: whole processes, the same weights and images, in turns."""

import json
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from sr.benchmark.process import RETAIN, Cost, measure_in_turns, measure_process
from sr.benchmark.row import Row
from sr.checkpoint.load import LoadedNet, load_checkpoint
from sr.data.sample import NAMES
from sr.image.read import read_rgb
from sr.runtime.error import UserError

MAX_ROUNDS = 3
CASES = {"1mp": (1, 864, 1152), "12mp": (1, 3000, 4000), "small": (100, 128, 128)}  # -> images, their height and width
OURS = "sr.predict"
REFERENCES = {
    "plain": "a script: spandrel and a loop over Pillow images",
    "tuned": "a tuned script: imports torch and Pillow alone, channels_last, inference_mode, malloc that retains "
    "memory, PNG of level 1",
}
PATCH = 256  # side of the pieces of photographs of which an image consists
MAX_DIFFERENCE = 0.05  # levels, mean: both sides must do the same


def compare_prediction(config: Mapping[str, Any]) -> list[Row]:
    """Return for each of `images` and each reference two rows: processor time and peak memory."""
    model = load_checkpoint(config["checkpoint"])
    if model.color != "rgb":
        raise UserError(f"checkpoint={config['checkpoint']}: expected a net of RGB images (found color={model.color})")
    has_spandrel = find_spec("spandrel") is not None
    if not has_spandrel:
        missing = "spandrel is missing, so only the tuned script is measured; pip install 'sr[zoo]'"
        print(f"parts=[predict]: {missing}", file=sys.stderr)
    rows = []
    with tempfile.TemporaryDirectory(prefix="sr-bench-") as name:
        folder = Path(name)
        write_net(model, folder)
        for case in config["images"]:
            write_images(folder / case, *CASES[case])
            references = [reference for reference in REFERENCES if reference != "plain" or has_spandrel]
            sides = {side: partial(run_side, folder, case, side, config) for side in (OURS, *references)}
            costs = measure_in_turns(sides, min(config["rounds"], MAX_ROUNDS), f"predict {case}")
            for reference in references:
                require_same_results(*(folder / f"{case}-{name}" for name in (OURS, reference)))
            for reference in references:
                for unit, k in (("CPU s", 0), ("MB", 1)):
                    ours, theirs = ([cost[k] for cost in costs[side]] for side in (OURS, reference))
                    rows.append(
                        Row(f"predict {case}, {config['checkpoint']}", ours, theirs, unit, REFERENCES[reference])
                    )
    return rows


def write_net(model: LoadedNet, folder: Path) -> None:
    """Write weights and config of the net for all sides."""
    (folder / "net.json").write_text(json.dumps(model.config["model"]["net"]), encoding="utf-8")
    torch.save(model.net.state_dict(), folder / "net.pth")


def write_images(folder: Path, count: int, height: int, width: int) -> None:
    """Write images that consist of pieces of scikit-image's photographs, each image of others."""
    import skimage

    folder.mkdir()
    photographs = [read_rgb(Path(skimage.__file__).parent / "data" / name) for name in NAMES["train"]]
    random = np.random.default_rng(0)
    for number in range(count):
        image = np.empty((height, width, 3), np.uint8)
        for top in range(0, height, PATCH):
            for left in range(0, width, PATCH):
                photograph = photographs[random.integers(len(photographs))]
                y, x = (random.integers(max(1, side - PATCH)) for side in photograph.shape[1:])
                place = image[top : top + PATCH, left : left + PATCH]
                place[...] = photograph[:, y : y + place.shape[0], x : x + place.shape[1]].permute(1, 2, 0).numpy()
        Image.fromarray(image).save(folder / f"{number:03}.png")


def run_side(folder: Path, case: str, side: str, config: Mapping[str, Any]) -> Cost:
    """Upscale all images in a new process. Raise if it fails."""
    source, target = folder / case, folder / f"{case}-{side}"
    target.mkdir(exist_ok=True)
    if side == OURS:
        words = ["sr.predict", f"input={source}", f"output={target}", f"checkpoint={config['checkpoint']}"]
        words += ["device=cpu", "overwrite=true", "progress=false"]
    else:
        paths = (folder / "net.json", folder / "net.pth", source, target)
        words = ["sr.benchmark.bare_upscaling", side, *map(str, paths)]
    return measure_process("predict", words, config["threads"], RETAIN if side == "tuned" else {})


def require_same_results(ours: Path, reference: Path) -> None:
    """Raise unless both folders have the same images, but for rounding."""
    for file in sorted(reference.iterdir()):
        (result,) = ours.glob(f"{file.stem}*.png")
        x, y = (read_rgb(path).short() for path in (result, file))
        difference = (x - y).abs().float().mean().item()
        if difference > MAX_DIFFERENCE:
            raise AssertionError(f"{file.name}: the results differ by {difference:.3f} levels, mean")
