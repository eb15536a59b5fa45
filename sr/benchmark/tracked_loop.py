"""A training step of the default net, for the benchmarks of tracking."""

from collections.abc import Callable
from typing import Any

import torch

from sr.config.build import build_model

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
