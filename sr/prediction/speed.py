"""`python -m sr.predict --models --speed`: measure the speed of the networks that are used by name."""

import time

import torch

from sr.checkpoint.load import LoadedNet
from sr.inference.upscale import upscale
from sr.prediction.api import load
from sr.pretrained.networks import list_networks
from sr.runtime import malloc

WORK = 1e10  # multiply-adds, about, of the square that is upscaled to measure the speed
SIDES = (32, 256)  # smallest and largest side of that square, in LR pixels


def measure_speeds(device: str) -> tuple[dict[str, float], str]:
    """Return the seconds for a megapixel of the result of each network that is installed, and the name of the device.

    Each takes about half a second.
    """
    malloc.retain_freed_memory()  # as a prediction does
    models = {
        network.name: load(network.name, device) for network in list_networks() if network.find_file() is not None
    }
    return {name: measure_speed(model) for name, model in models.items()}, str(next(iter(models.values())).device)


@torch.no_grad()
def measure_speed(loaded: LoadedNet) -> float:
    """Return the seconds that a megapixel of the result takes: the better of two times, for the first one is slower."""
    parameters = sum(weight.numel() for weight in loaded.net.parameters())
    side = min(max(round((WORK / parameters) ** 0.5), SIDES[0]), SIDES[1])
    lr = torch.rand(1, 3 if loaded.color == "y" else loaded.channels, side, side, device=loaded.device)
    seconds = min(_time_upscale(loaded, lr) for _ in range(2))
    return seconds / (side * loaded.scale) ** 2 * 1e6


def _time_upscale(loaded: LoadedNet, lr: torch.Tensor) -> float:
    start = time.perf_counter()
    upscale(loaded.net, lr, loaded.color).sum().item()  # waits for a GPU
    return time.perf_counter() - start
