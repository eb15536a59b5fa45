"""`python -m sr.predict --models`: list the networks that are used by name, with their speed on this machine."""

import time

import torch

from sr.checkpoint.load import LoadedNet, load_checkpoint
from sr.config.build import select_device
from sr.inference.upscale import upscale
from sr.pretrained.networks import Network, list_networks
from sr.runtime.terminal import format_table

HEADER = ("name", "scale", "model/net", "parameters", "MB", "Set5 dB", "s/megapixel", "license of weights")
WORK = 1e10  # multiply-adds, about, of the square that is upscaled to measure the speed
SIDES = (32, 256)  # smallest and largest side of that square, in LR pixels


def print_models(device: str) -> None:
    """Print a table of all networks; the speed is measured on `device`, in about half a second for each."""
    target, networks = select_device(device), list_networks()
    print(format_table([HEADER, *(_format_row(network, target) for network in networks)]))
    width = max(len(network.name) for network in networks)
    print("\nGood for:\n")
    print("\n".join(f"{network.name:{width}}  {network.purpose}" for network in networks))
    print(f"\nSet5: PSNR under the protocol edsr. Speed: seconds for a megapixel of the result, on {target}.")
    defaults = [network.name for network in networks if network.package is None]
    if defaults:
        print(f"Without checkpoint=, sr.predict takes that of the scale: {', '.join(defaults)}.")
    missing = {network.extra for network in networks if network.find_file() is None}
    for extra in sorted(filter(None, missing)):
        print(f"Networks without a speed are not installed; type: pip install 'sr[{extra}]'")


def _format_row(network: Network, device: torch.device) -> tuple[str, ...]:
    psnr = network.psnr.get("Set5")
    speed = "–"
    if network.find_file() is not None:
        speed = f"{measure_speed(load_checkpoint(network.name, device)):.2f}"
    return (
        network.name, f"×{network.scale}", network.net, f"{network.parameters:,}", f"{network.megabytes:.1f}",
        f"{psnr:.2f}" if psnr else "–", speed, network.license,
    )  # fmt: skip


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
