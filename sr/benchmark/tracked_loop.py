"""A tracked run, and a training step of the default net, for the benchmarks of tracking."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from sr.config.build import build_model
from sr.track.mlflow import MLflow
from sr.track.upload import Upload

SCALARS = 5  # logged at each step


def create_training_step(config: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """Return a function that trains the configured net for a step on one batch, and returns the scalars to log."""
    model = build_model(config)
    net, optimizer = model.net, model.optimizer(model.net.parameters())
    side = config["data"]["patch"]
    hr = torch.rand(config["data"]["batch"], 3, side, side)
    lr = hr[..., :: config["scale"], :: config["scale"]].contiguous()

    def step() -> dict[str, Any]:
        loss = model.loss.total(model.loss(net(lr), hr))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return {f"train/{i}": loss.detach() for i in range(SCALARS)}

    return step


@contextlib.contextmanager
def open_tracker(uri: str | None = None) -> Iterator[tuple[MLflow, Callable[[], bool]]]:
    """Yield the tracker of a started run, and a function that returns True if its MLflow has everything uploaded."""
    with tempfile.TemporaryDirectory() as runs:
        folder = Path(runs) / "run"
        folder.mkdir()
        tracker = MLflow(uri, runs, "bench")
        tracker.start("bench", folder, {}, [], {})
        try:
            yield tracker, lambda: Upload(folder, tracker.uri, tracker.runs).is_complete
        finally:
            tracker.close("FINISHED")
