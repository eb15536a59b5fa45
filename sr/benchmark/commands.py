"""Compare whole processes of commands with short scripts: a run of one step, an inspection, an evaluation.

The images are pieces of scikit-image's photographs, so that no data set is needed.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from sr.benchmark.prediction import write_images, write_net
from sr.benchmark.process import measure_in_turns, measure_process
from sr.benchmark.row import Row
from sr.checkpoint.load import load_checkpoint
from sr.track.address import default_uri

MAX_ROUNDS = 3
FEW, SIDE = 16, 256  # images of the run of one step and of the evaluation, and their side
SMALL_SIDE = 128  # of many images
OURS, REFERENCE = "sr", "reference"
BARE_RUN = (
    "a script: torch, the images decoded by Pillow, one step of the same net, torch.save; no validation, no tracking"
)
BARE_HASHES = "a script: Pillow decodes each image, imagehash.phash hashes it, all are compared"
BARE_EVALUATION = "a script: torch and Pillow, channels_last, the same PSNR and SSIM, no record"
MAX_DIFFERENCE = 5e-4  # dB of PSNR: both sides must do the same
Words = list[str]


def compare_commands(config: Mapping[str, Any]) -> Iterator[Row]:
    """Yield rows of processor time."""
    with tempfile.TemporaryDirectory(prefix="sr-bench-") as name:
        folder = Path(name)
        write_images(folder / "few", FEW, SIDE, SIDE)
        write_images(folder / "many", config["files"], SMALL_SIDE, SMALL_SIDE)
        measure = partial(_measure, config, folder)
        many = f"{config['files']} images of {SMALL_SIDE}×{SMALL_SIDE}"
        bare = ["start", str(folder / "few"), str(folder / "net.pt")]
        yield measure("a run of one step", _list_run_words(folder / "few", folder), bare, BARE_RUN)
        bare = ["start", str(folder / "many"), str(folder / "net.pt")]
        run = _list_run_words(folder / "many", folder)
        measure_process("commands", run, config["threads"])  # fills the cache
        yield measure(f"the second run on {many}", run, bare, BARE_RUN)
        inspect = ["sr.inspect", "data=folder", f"data.path={folder}/many", "data.val=[]", "data.test=[]"]
        inspect += ["data.patch=64", f"out={folder}/inspect.json", f"paths.cache={folder}/cache", "progress=false"]
        bare, per_image = ["inspect", str(folder / "many")], 1000 / config["files"]
        unknown = [
            *inspect,
            f"paths.cache={folder}/net.pt/none",
        ]  # cannot be created below a file: nothing is remembered
        yield measure(f"inspecting {many}", unknown, bare, BARE_HASHES, "CPU ms an image", per_image)
        measure_process("commands", inspect, config["threads"])
        yield measure(f"inspecting {many} again", inspect, bare, BARE_HASHES, "CPU ms an image", per_image)
        yield _compare_evaluation(config, folder)


def _list_run_words(images: Path, folder: Path) -> Words:
    """Return the words of a run of one step that is sent to MLflow."""
    return ["sr.run", "data=folder", f"data.path={images}", "model/net=plain", "scale=2", "stages=[fit]", "progress=false",
            "trainer.max_steps=1", "trainer.val_check_interval=1", "trainer.accelerator=cpu", "data.batch=8", "track=mlflow",
            f"track.uri={default_uri(folder)}", f"paths.runs={folder}/runs", f"paths.cache={folder}/cache"]  # fmt: skip


def _measure(
    config: Mapping[str, Any],
    folder: Path,
    name: str,
    ours: Words,
    reference: Words,
    reference_name: str,
    unit: str = "CPU s",
    factor: float = 1.0,
) -> Row:
    """Measure a command, and a function of `sr.benchmark.bare_commands`."""
    words = {OURS: ours, REFERENCE: ["sr.benchmark.bare_commands", *reference]}
    sides = {side: partial(measure_process, "commands", words[side], config["threads"], {}, folder) for side in words}
    costs = measure_in_turns(sides, min(config["rounds"], MAX_ROUNDS), name)
    return Row(name, *([factor * cost.seconds for cost in costs[side]] for side in sides), unit, reference_name)


def _compare_evaluation(config: Mapping[str, Any], folder: Path) -> Row:
    """Evaluate the net of `checkpoint`, and check that both sides measure the same."""
    model = load_checkpoint(config["checkpoint"])
    write_net(model, folder)
    images = folder / "sets" / "Bench" / "HR"
    images.parent.mkdir(parents=True)
    (folder / "few").rename(images)
    ours = ["sr.evaluate", f"checkpoint={config['checkpoint']}", "data.test=[Bench]", f"paths.data={folder}/sets"]
    ours += ["metric/also=[]", "track=none", "device=cpu", "progress=false", f"paths.runs={folder}/runs"]
    ours += [f"paths.cache={folder}/cache"]
    bare = ["evaluate", *(str(folder / name) for name in ("net.json", "net.pth")), str(images), f"{folder}/values.json"]
    name = f"evaluating {FEW} images of {SIDE}×{SIDE}, {config['checkpoint']}"
    row = _measure(config, folder, name, ours, bare, BARE_EVALUATION)
    expected = json.loads((folder / "values.json").read_text(encoding="utf-8"))[0]
    file = next((folder / "runs").glob("*-evaluate-*/evaluate.json"))
    found = json.loads(file.read_text(encoding="utf-8"))["sets"]["Bench"]["metrics"]["psnr"]
    if abs(found - expected) > MAX_DIFFERENCE:
        raise AssertionError(f"PSNR is {found:.4f} dB by sr.evaluate, {expected:.4f} dB by the script")
    return row
