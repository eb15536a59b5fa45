"""The same training twice, in turns: by this framework, and by the loop that a careful person writes by hand.

The rival keeps its pictures in memory, with LR pictures made once beforehand, and has no tracking, no validation and
no framework: all that it does, the framework has to do as well.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sr.callback import progress_bar
from sr.callback.best import BestCheckpoint
from sr.callback.checkpointing import CheckpointWriter
from sr.callback.metrics import MetricLogger
from sr.callback.panels import PanelLogger
from sr.callback.throughput import DataWaitProfiler, TrainingClock
from sr.checkpoint import architecture
from sr.config.build import build_data, build_model, build_part, build_trainer
from sr.data.patches import Patches
from sr.model.cnn import CNN
from sr.model.gradient import list_trainable
from sr.runtime import malloc, terminal
from sr.runtime.error import UserError

RIVAL = "bare PyTorch loop: LR made beforehand, no tracking, no validation, no framework"


LEAST = 5  # steps of a round


class Timed(NamedTuple):
    """One round."""

    rate: float  # steps per second
    waiting: float  # share of the time spent getting the next batch, 0…1


def compare(config: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of all `nets`."""
    malloc.retain_freed_memory()  # the bare loop gains by it as well
    found = []
    for name in config["nets"]:
        node = architecture.compose_net_config(name, config["scale"], config["channels"])
        found += Comparison(config | {"model": config["model"] | {"net": node}}).rows()
    return found


class Comparison:
    """Both sides of one config, which must train a CNN on pictures."""

    def __init__(self, config: dict[str, Any]) -> None:
        terminal.silence_library_warnings()
        self.config = config
        self.steps, self.batch = config["steps"], config["data"].get("batch")
        torch.set_num_threads(config["threads"])
        self.data = build_data(config)
        self.data.prepare_data()
        self.data.setup("fit")
        if not isinstance(self.data.train_set, Patches) or not isinstance(build_model(config), CNN):
            raise UserError("sr.bench compares model=cnn on pictures: data=sample or data=folder")

    def rows(self) -> list[dict[str, Any]]:
        """Run all rounds; what each side reached in each of them."""
        self.device = torch.device("cpu") if not torch.cuda.is_available() else torch.device("cuda")
        self._bare(LEAST)  # warms up
        self.steps = min(self.steps, max(LEAST, round(self.config["seconds"] * self._bare(LEAST).rate)))
        self.config["trainer"] |= {"max_steps": self.steps, "val_check_interval": self.steps}
        ours: list[Timed] = []
        rival: list[Timed] = []
        for k in range(self.config["rounds"]):
            print(f"round {k + 1} of {self.config['rounds']}", file=sys.stderr)
            turns = [(ours, self._framework), (rival, self._bare)]
            for times, side in turns if k % 2 == 0 else reversed(turns):
                times.append(side())
        name = self.config["model"]["net"]["_target_"].rpartition(".")[2]
        of = f"training, {name}, batch {self.batch}, patch {self.config['data']['patch']}, {self.steps} steps"
        return [
            _row(f"{of}, tracking on", [t.rate for t in ours], [t.rate for t in rival], "steps/s"),
            _row(
                "waiting for data, share of time",
                [100 * t.waiting for t in ours],
                [100 * t.waiting for t in rival],
                "%",
            ),
        ]

    def _framework(self) -> Timed:
        with tempfile.TemporaryDirectory() as folder:
            own = {"runs": folder, "uri": None} if "runs" in self.config["track"] else {}  # never the user's database
            track = build_part(self.config["track"] | own, "track")
            model, clock, waiting = build_model(self.config), TrainingClock(), DataWaitProfiler()
            judge = BestCheckpoint(Path(folder), self.config["watch"], self.config)
            keeper = CheckpointWriter(judge, self.config, track)
            callbacks = [
                judge,
                clock,
                progress_bar.TrainingProgressBar(),
                MetricLogger(track),
                PanelLogger(track),
                keeper,
            ]
            trainer = build_trainer(self.config, callbacks, track, manual=False)
            trainer.profiler = waiting
            self.device = trainer.strategy.root_device  # where the rival will run as well
            track.start("bench", Path(folder), self.config, [], {})
            trainer.fit(model, datamodule=self.data)
            track.close("FINISHED")
            return Timed(self.steps / clock.seconds, waiting.seconds / clock.seconds)

    def _bare(self, steps: int | None = None) -> Timed:
        steps = steps or self.steps
        model = build_model(self.config)
        device = self.device
        channels_last = self.config["trainer"]["channels_last"]
        layout = torch.channels_last if channels_last else torch.contiguous_format
        net, loss = model.net.to(device, memory_format=layout).train(), model.loss
        precision = torch.autocast(
            device.type, torch.bfloat16, enabled=self.config["trainer"]["precision"] == "bf16-mixed"
        )
        optimizer = model.optimizer(list_trainable(net))
        batches, waited = self._batches(), 0.0
        start = time.perf_counter()
        for _ in range(steps):
            before = time.perf_counter()
            lr, hr = next(batches)
            waited += time.perf_counter() - before
            lr, hr = (x.to(device).float().div(255).to(memory_format=layout) for x in (lr, hr))
            with precision:
                error = loss.total(loss(net(lr), hr))
            optimizer.zero_grad()
            error.backward()
            optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - start
        return Timed(steps / seconds, waited / seconds)

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        pictures, s = self.data.train_set.images, self.config["scale"]
        hr = [pictures[k].hr for k in range(len(pictures))]
        lr = [self.data.degrade(image) for image in hr]
        p = self.config["data"]["patch"] // s
        while True:
            small, large = [], []
            for k in torch.randint(len(hr), (self.batch,)).tolist():
                top, left = (int(torch.randint(n - p + 1, ())) for n in lr[k].shape[1:])
                turn = torch.randint(8, ()).item()
                small.append(_turned(lr[k][:, top : top + p, left : left + p], turn))
                large.append(_turned(hr[k][:, s * top : s * (top + p), s * left : s * (left + p)], turn))
            yield torch.stack(small), torch.stack(large)


def _turned(image: Tensor, turn: int) -> Tensor:
    axes = [axis for bit, axis in ((1, -1), (2, -2)) if turn & bit]
    image = image.flip(axes) if axes else image
    return image.transpose(-1, -2) if turn & 4 else image


def _row(name: str, ours: list[float], rival: list[float], unit: str) -> dict[str, Any]:
    return {"name": name, "ours": ours, "rival": rival, "unit": unit, "rival_is": RIVAL}
