"""Export all networks to ONNX and torch.export, and compare the files with PyTorch: `measure.py RESULTS [NETS …]`.

`measure.py RESULTS --table` prints the table of what has been measured.

`RESULTS` is a file of JSON lines, one for each net, scale and color; those that it has are not measured again. Each file is
compared at the five sizes with which sr.export checks it, with one to three images, and on Set5 in `SR_DATA`. Weights are
the published ones where they are at hand, else random ones of a net with fewer layers of each kind.
"""

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import sr
from sr.checkpoint.architecture import compose_net_config
from sr.checkpoint.load import LoadedNet, load_checkpoint
from sr.config.build import build_part
from sr.config.schema import COLORS, find_conf_dir
from sr.exporter.exporter import SIDES
from sr.exporter.graph import ImageGraph
from sr.exporter.onnx import OnnxExporter
from sr.exporter.torch import TorchExporter
from sr.image.read import read_rgb
from sr.image.write import to_uint8
from sr.runtime.error import UserError

DATA = Path(os.environ["SR_DATA"])
LEFT_OUT = ("spandrel",)  # is what its weight file is
SAME = {"edsr_large": "edsr", "srresnet_small": "srresnet"}  # the class of another choice, with other numbers
FEWER = {"blocks": 2, "groups": 2, "depth": 4, "depths": [2], "heads": [6]}  # layers of nets with random weights
SMALLEST = ("butterfly", "woman")  # the images of Set5 that are used at other scales than 4
EXPORTERS = {"onnx": OnnxExporter(), "torch": TorchExporter()}


def find_weights(name: str, scale: int, color: str) -> tuple[str, int | None] | None:
    """Return a checkpoint of published weights and the scale to load it with, or None."""
    weights = DATA / "weights"
    known = {f"imdn {s} rgb": (f"{weights}/IMDN/IMDN_x{s}.pth", s) for s in (2, 3, 4)}
    known |= {f"vdsr {s} y": (f"{weights}/VDSR/vdsr_official.npz", s) for s in (2, 3, 4)}
    known |= {f"carn_m {s} rgb": (f"{weights}/CARN-M/carn_m.pth", s) for s in (2, 3, 4)}
    known |= {f"srvgg {s} rgb": (f"realesr_animevideov3_x{s}", s) for s in (2, 3, 4)}
    known |= {"rfdn 4 rgb": (f"{weights}/RFDN/RFDN_AIM.pth", 4), "rrdb 4 rgb": ("realesrgan_x4plus_anime", 4)}
    known |= {"efdn 4 rgb": (f"{weights}/NTIRE_ESR/team00_EFDN.pth", 4)}
    return known.get(f"{name} {scale} {color}")


def build_model(name: str, scale: int, color: str) -> tuple[LoadedNet, str]:
    """Return the net of a choice, and where its weights are from."""
    found = find_weights(name, scale, color)
    if found:
        model = load_checkpoint(found[0], scale=found[1])
        return model, Path(found[0]).name
    node = compose_net_config(name, scale, COLORS[color])
    node |= {key: value for key, value in FEWER.items() if key in node}
    torch.manual_seed(0)
    net = build_part(node, "model.net").eval()
    return LoadedNet(net, {"scale": scale, "color": color, "model": {"net": node}}, {}, 0), "random"


def list_inputs(scale: int) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Yield batches of LR in 0…1; with HR for those of Set5."""
    random = torch.Generator().manual_seed(0)
    for (h, w), b in zip(SIDES, (1, 2, 3, 1, 2), strict=True):
        yield torch.randint(0, 256, (b, 3, h, w), generator=random) / 255, None
    for file in sorted((DATA / "Set5" / "LR_bicubic" / f"X{scale}").glob("*.png")):
        if scale != 4 and file.stem.partition("x")[0] not in SMALLEST:
            continue
        hr = read_rgb(DATA / "Set5" / "HR" / f"{file.stem.partition('x')[0]}.png")
        h, w = (side // scale * scale for side in hr.shape[1:])
        yield read_rgb(file)[None] / 255, hr[None, :, :h, :w]


@torch.no_grad()
def measure(name: str, scale: int, color: str) -> dict[str, Any]:
    """Return the largest difference from PyTorch, and the largest of the PSNR of an image in dB, of both files."""
    model, source = build_model(name, scale, color)
    row: dict[str, Any] = {"net": name, "scale": scale, "color": color, "weights": source}
    row["parameters"] = sum(weight.numel() for weight in model.net.parameters())
    files: dict[str, nn.Module] = {}
    with tempfile.TemporaryDirectory() as folder:
        for key, exporter in EXPORTERS.items():
            path = Path(folder, f"net{exporter.suffix}")
            try:
                exporter.write(model, path)
                files[key] = exporter.load(path)
                row[key] = {"largest": 0.0, "dB": 0.0}
            except UserError as error:
                row[key] = {"error": str(error)}
        reference = ImageGraph(model.net, color).eval()
        for lr, hr in list_inputs(scale) if files else ():
            expected = reference(lr)
            for key, file in files.items():
                found = file(lr)
                row[key]["largest"] = max(row[key]["largest"], float((found - expected).abs().max()))
                if hr is not None:
                    ours, theirs = (sr.score(to_uint8(image), hr, scale)["psnr"] for image in (expected, found))
                    row[key]["dB"] = max(row[key]["dB"], abs(ours - theirs))
    return row


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print a row of Markdown for each net: the largest values over its scales and colors."""
    print("| net | scales, colors | weights | parameters | ONNX | torch.export | ONNX, dB | torch.export, dB |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in sorted({row["net"] for row in rows}):
        own = [row for row in rows if row["net"] == name]
        if any("error" in row[key] for row in own for key in EXPORTERS):
            print(f"| {name} | | | | not possible | not possible | | |")
            continue
        measured = {
            color: "".join(
                f" ×{row['scale']}" for row in sorted(own, key=lambda row: row["scale"]) if row["color"] == color
            )
            for color in ("rgb", "y")
        }
        cells = [", ".join(f"{color}{scales}" for color, scales in measured.items() if scales)]
        cells.append(", ".join(sorted({row["weights"] for row in own})))
        cells.append(f"{max(row['parameters'] for row in own):,}")
        cells += [f"{max(row[key]['largest'] for row in own):.0e}" for key in EXPORTERS]
        cells += [f"{max(row[key]['dB'] for row in own):.0e}" for key in EXPORTERS]
        print(f"| {name} | {' | '.join(cells)} |")


def main() -> None:
    """Measure what `RESULTS` does not have yet."""
    results, *nets = sys.argv[1:]
    choices = sorted(path.stem for path in (find_conf_dir() / "model" / "net").glob("*.yaml"))
    nets = nets or [name for name in choices if name not in (*LEFT_OUT, *SAME)]
    rows = [json.loads(line) for line in Path(results).read_text().splitlines()] if Path(results).exists() else []
    if nets == ["--table"]:
        print_table(rows)
        return
    done = {(row["net"], row["scale"], row["color"]) for row in rows}
    torch.set_num_threads(1)
    for scale in (4, 3, 2):
        for name in nets:
            for color in ("rgb", "y"):
                if (name, scale, color) in done:
                    continue
                row = measure(name, scale, color)
                print(row, flush=True)
                with Path(results).open("a") as file:
                    file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
