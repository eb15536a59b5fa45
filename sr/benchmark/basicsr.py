"""Compare training with that of BasicSR (https://github.com/XPixelGroup/BasicSR): whole processes in turns, on the CPU.

Both sides train the same network on the same pairs of PNG files: L1, Adam, averaged weights, no validation.
BasicSR is no dependency: the option `basicsr` names a Python that can import it (docs/speed.md).
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from sr.benchmark.backend import Settings, create_loop, measure_seconds
from sr.benchmark.basicsr_options import Case, CommonNet, describe_training, find_common_nets
from sr.benchmark.batches import repeat_noise
from sr.benchmark.prediction import write_images
from sr.benchmark.process import Cost, measure_in_turns, measure_process
from sr.benchmark.row import Row
from sr.image.read import read_rgb
from sr.image.resize import imresize
from sr.runtime.error import UserError
from sr.track.address import default_uri

MAX_ROUNDS = 3
IMAGES, SIDE = 16, 480  # HR images and their side: that of the pieces of DIV2K that BasicSR's recipes train on
LONG_ENOUGH = 100  # steps of a training in which perf= measures anything
WARM_UP = 3  # steps of the shorter one of two processes: its cost is subtracted from that of the longer one
MIN_STEPS = 10  # by which the other one is longer
MODES = ("plain", "fast")
WORKERS = (0, 6)  # data loader processes of BasicSR: none, and as many as in its recipes
COST_UNITS = {"seconds": "CPU s", "wall_seconds": "s"}  # of the fields of Cost
RATE_UNITS = {"seconds": "steps/CPU s", "wall_seconds": "steps/s"}
PROBE = "import basicsr, torch; print('BasicSR', basicsr.__version__, 'with torch', torch.__version__)"
Train = Callable[[int], Cost]  # for a number of steps


def compare_basicsr(config: Mapping[str, Any]) -> Iterator[Row]:
    """Yield rows of the start with the first of `nets` that BasicSR has, and of the training of each of them.

    Without the option `basicsr` print what to give, and yield none.
    """
    if not config["basicsr"]:
        missing = "give basicsr=PYTHON, the Python of an environment that can import BasicSR (docs/speed.md)"
        print(f"parts=[basicsr]: skipped; {missing}", file=sys.stderr)
        return
    nets = find_common_nets(config)
    with tempfile.TemporaryDirectory(prefix="sr-bench-") as name:
        comparison = BasicSRComparison(config, Path(name))
        yield from comparison.compare_starts(nets[0])
        for net in nets:
            yield from comparison.compare_rates(net)


class BasicSRComparison:
    """The processes of both sides, and the folder with their images."""

    def __init__(self, config: Mapping[str, Any], folder: Path) -> None:
        self.config, self.folder = config, folder
        self.rounds = min(config["rounds"], MAX_ROUNDS)
        self.python, version = find_basicsr(config["basicsr"])
        self.references = {f"{version}, {workers} workers": workers for workers in WORKERS}
        write_images(folder / "hr", IMAGES, SIDE, SIDE)
        (folder / "lr").mkdir()
        for file in (folder / "hr").iterdir():
            lr = imresize(read_rgb(file), 1 / config["scale"])
            Image.fromarray(lr.permute(1, 2, 0).numpy()).save(folder / "lr" / file.name)

    def compare_starts(self, net: CommonNet) -> Iterator[Row]:
        """Yield rows of a whole process of one step on one patch; each side has run once before."""
        trackers = {"track=none": [], "track=mlflow": [f"track.uri={default_uri(self.folder)}"]}
        sides = self._list_sides(net, 1, {name: [name, *words] for name, words in trackers.items()})
        one_step = {side: partial(train, 1) for side, train in sides.items()}
        title = f"a run of one step, {net.name}"
        measure_in_turns(one_step, 1, f"{title}, not counted")
        costs = measure_in_turns(one_step, self.rounds, title)
        return self._list_rows(title, costs, COST_UNITS, lambda seconds: seconds)

    def compare_rates(self, net: CommonNet) -> Iterator[Row]:
        """Yield rows of the steps per second of training."""
        config = dict(self.config)
        loop = create_loop(net.name, config, Settings(config["threads"], channels_last=True), repeat_noise(config))
        steps = round(self.config["seconds"] * WARM_UP / measure_seconds(loop, WARM_UP))
        steps = min(self.config["steps"], max(MIN_STEPS, steps))
        words = {f"perf={mode}": ["track=none", f"perf={mode}"] for mode in MODES}
        sides = self._list_sides(net, self.config["data"]["batch"], words)
        for side, train in sides.items():
            train(LONG_ENOUGH if side == "perf=fast" else WARM_UP)  # perf=fast stores what it measures
        title = f"training, {net.name}"
        pairs = {side: partial(measure_steps, train, steps) for side, train in sides.items()}
        costs = measure_in_turns(pairs, self.rounds, f"{title}, {steps} steps")
        return self._list_rows(title, costs, RATE_UNITS, lambda seconds: steps / seconds)

    def _list_sides(self, net: CommonNet, batch: int, ours: Mapping[str, list[str]]) -> dict[str, Train]:
        """Return a function for each of our sides, with words of its own, and for each reference."""
        case = Case(net, self.config["scale"], self.folder, self.config["data"]["patch"], batch)
        sides: dict[str, Train] = {name: partial(self._train_ours, case, words) for name, words in ours.items()}
        theirs = {name: partial(self._train_basicsr, case, workers) for name, workers in self.references.items()}
        return sides | theirs

    def _list_rows(
        self, title: str, costs: dict[str, list[Cost]], units: dict[str, str], convert: Callable[[float], float]
    ) -> Iterator[Row]:
        """Yield for each of our sides, each reference and each field of `units` a row."""
        for side in [side for side in costs if side not in self.references]:
            for reference in self.references:
                for field, unit in units.items():
                    figures = ([convert(getattr(cost, field)) for cost in costs[name]] for name in (side, reference))
                    yield Row(f"{title}, {side}", *figures, unit, reference)

    def _train_ours(self, case: Case, words: list[str], steps: int) -> Cost:
        """Train without validation. Compiling is not tried: it pays in longer trainings alone."""
        folder = self.folder
        words = ["sr.run", "data=pair", f"data.hr={folder}/hr", f"data.lr={folder}/lr", "data.val=[]", "data.test=[]",
                 f"model/net={case.net.name}", f"scale={case.scale}", f"data.patch={case.patch}",
                 f"data.batch={case.batch}", "stages=[fit]", f"trainer.max_steps={steps}",
                 f"trainer.val_check_interval={steps}", "trainer.accelerator=cpu", "trainer.compile=false",
                 "progress=false", f"paths.runs={folder}/runs", f"paths.cache={folder}/cache", *words]  # fmt: skip
        cost = measure_process("basicsr", words, self.config["threads"], folder=folder)
        shutil.rmtree(folder / "runs", ignore_errors=True)  # checkpoints of a large network fill a disk
        return cost

    def _train_basicsr(self, case: Case, workers: int, steps: int) -> Cost:
        """Train by BasicSR's own command. Raise unless its net has as many parameters as ours, by its log."""
        experiments = Path(tempfile.mkdtemp(prefix="basicsr-", dir=self.folder))
        file = experiments / "options.yml"
        file.write_text(json.dumps(describe_training(case, steps, workers, experiments)), encoding="utf-8")  # is YAML
        words = ["basicsr.train", "-opt", str(file)]
        cost = measure_process("basicsr", words, self.config["threads"], folder=self.folder, python=self.python)
        log = "".join(file.read_text(encoding="utf-8") for file in experiments.glob("*/train_*.log"))
        shutil.rmtree(experiments)
        expected, found = f"{case.net.parameters:,}", re.findall(r"with parameters: ([\d,]+)", log)
        if found[:1] != [expected]:
            raise UserError(
                f"basicsr={self.config['basicsr']}: expected a log that names {expected} parameters, those of "
                f"{case.net.name} in sr (found {', '.join(found) or 'none'}); give BasicSR 1.4.2, as in docs/speed.md"
            )
        return cost


def find_basicsr(value: str) -> tuple[str, str]:
    """Return the path of the Python of `basicsr=value`, and a text that has its versions of BasicSR and torch."""
    found = shutil.which(Path(value).expanduser())
    if found is None:
        raise UserError(f"basicsr={value}: expected a Python (found no such program); give basicsr=FOLDER/bin/python")
    python = str(Path(found).absolute())  # the link of an environment must not be resolved
    with tempfile.TemporaryDirectory() as folder:  # a folder basicsr of the current one would be imported
        done = subprocess.run([python, "-c", PROBE], capture_output=True, text=True, cwd=folder, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(
            f"basicsr={value}: expected a Python that can import BasicSR (found {reason}); see docs/speed.md"
        )
    return python, done.stdout.strip().splitlines()[-1]


def measure_steps(train: Train, steps: int) -> Cost:
    """Return the cost of `steps` steps: that of a longer process, minus that of one of `WARM_UP` steps."""
    short, long = train(WARM_UP), train(WARM_UP + steps)
    cost = Cost(long.seconds - short.seconds, long.megabytes, long.wall_seconds - short.wall_seconds)
    if min(cost.seconds, cost.wall_seconds) <= 0:
        seconds = " and ".join(f"{c.seconds:.1f} CPU s, {c.wall_seconds:.1f} s" for c in (short, long))
        counts = f"{WARM_UP} and {WARM_UP + steps} steps took {seconds}"
        raise UserError(
            f"parts=[basicsr]: expected the longer run to take longer ({counts}); give more steps= and seconds="
        )
    return cost
