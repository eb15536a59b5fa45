"""Compare nets in PyTorch, as sr.predict executes them, with the files that sr.export writes of them, in onnxruntime."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sr.benchmark.row import Row
from sr.checkpoint import architecture
from sr.config.build import build_part
from sr.net.onnx import OnnxNet
from sr.pretrained.weight_file import write_weights
from sr.runtime import malloc
from sr.runtime.error import UserError

CASES = {"tile": 96, "image": 256}  # -> side in LR pixels
MAX_ROUNDS = 5
REFERENCE = "onnxruntime, with the file of sr.export"


def compare_runtimes(config: Mapping[str, Any]) -> list[Row]:
    """Return for each of `nets`, with random weights, the processor time of a tile and of an image."""
    if find_spec("onnxruntime") is None or find_spec("onnxscript") is None:
        raise UserError("parts=[onnx]: needs onnxruntime and onnxscript: pip install 'sr[onnx]'")
    torch.set_num_threads(config["threads"])
    malloc.retain_freed_memory()  # as sr.predict does
    rows = []
    for name in config["nets"]:
        print(f"{name}: exporting", file=sys.stderr)
        node = architecture.compose_net_config(name, config["scale"], config["channels"])
        net = build_part(node, "model.net").eval()
        with tempfile.TemporaryDirectory(prefix="sr-bench-") as folder:
            file = OnnxNet(_export(net, node, Path(folder)))
        net.to(memory_format=torch.channels_last)
        for case, side in CASES.items():
            lr = torch.rand(1, net.channels, side, side)
            rounds = min(MAX_ROUNDS, config["rounds"])
            sides: tuple[list[float], list[float]] = ([], [])
            for k in range(1 + rounds):  # the first one warms up
                modules = [(sides[0], net), (sides[1], file)]
                for times, module in modules if k % 2 == 0 else reversed(modules):
                    times.append(_measure_milliseconds(module, lr.to(memory_format=torch.channels_last)))
            rows.append(Row(f"{name}, {case} of {side}×{side}", *(times[1:] for times in sides), "CPU ms", REFERENCE))
    return rows


def _export(net: nn.Module, node: dict[str, Any], folder: Path) -> Path:
    """Write the net by a process of sr.export; a net of one channel takes gray images, so that both sides do the same."""
    color = {3: "rgb", 1: "gray"}[net.channels]
    checkpoint, path = folder / "net.safetensors", folder / "net.onnx"
    write_weights(checkpoint, net.state_dict(), {"scale": net.scale, "color": color, "model": {"net": node}})
    command = [sys.executable, "-m", "sr.export", f"checkpoint={checkpoint}", f"output={path}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"parts=[onnx]: sr.export has failed: {done.stderr.strip()[-300:]}")
    return path


def _measure_milliseconds(module: Callable[[Tensor], Tensor], lr: Tensor) -> float:
    start = time.process_time()
    with torch.inference_mode():
        module(lr)
    return 1000 * (time.process_time() - start)
