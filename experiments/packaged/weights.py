"""Make weight files from checkpoints.

`weights.py start CHECKPOINT SCALE TARGET`: initial weights of the same net for another scale, for `model.init=TARGET`: all
layers but the last, which depends on the scale and starts with zeros, so that training begins at bicubic interpolation.
`weights.py deepen CHECKPOINT BLOCKS TARGET`: initial weights of a net with more blocks, which computes nearly what the checkpoint
computes: a new block adds a hundredth of what it adds in an untrained net.
`weights.py package CHECKPOINT TARGET`: the averaged weights in float16, with the config of their net.
"""

import sys
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

import sr
from sr.net.residual import Residual
from sr.pretrained.weight_file import write_weights


def save_state(state: dict[str, Tensor], target: Path) -> None:
    """Write a state dict, for `model.init`; a loaded net is in `channels_last`, which safetensors refuses."""
    save_file({name: value.contiguous() for name, value in state.items()}, target)


def write_start(checkpoint: str, scale: int, target: Path) -> None:
    """Write the initial weights of a net for `scale`."""
    loaded = sr.load(checkpoint, device="cpu")
    options = loaded.config["model"]["net"]
    net = Residual(scale, loaded.channels, options["width"], options["blocks"])
    trunk = {name: value for name, value in loaded.net.state_dict().items() if not name.startswith("tail.")}
    save_state(net.state_dict() | trunk, target)


def write_deeper(checkpoint: str, blocks: int, target: Path) -> None:
    """Write the initial weights of a net with `blocks` blocks, the first ones of which are those of the checkpoint."""
    loaded = sr.load(checkpoint, device="cpu")
    net = Residual(loaded.scale, loaded.channels, loaded.config["model"]["net"]["width"], blocks)
    for block in net.body:
        block.conv2.weight.data *= 0.01
    save_state(net.state_dict() | loaded.net.state_dict(), target)


def write_package(checkpoint: str, target: Path) -> None:
    """Write weights to be shipped."""
    loaded = sr.load(checkpoint, device="cpu")
    write_weights(target, {name: value.half() for name, value in loaded.net.state_dict().items()}, loaded.config)


if __name__ == "__main__":
    if sys.argv[1] == "start":
        write_start(sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
    elif sys.argv[1] == "deepen":
        write_deeper(sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
    else:
        write_package(sys.argv[2], Path(sys.argv[3]))
