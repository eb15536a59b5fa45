"""Export all networks to ONNX and torch.export, and compare the files with PyTorch: `measure.py RESULTS [NETS …]`.

`measure.py RESULTS --table` prints the table of what has been measured.

`RESULTS` is a CSV file with a row for each net, scale and color; those that it has are not measured again. Each file is compared
as sr.export does it, at five sizes with one, two and three images each, and on Set5 in `SR_DATA`. Weights are the published
ones where they are at hand, else random ones of a small net; at ×4 (without attention), one of the usual width and few layers.
"""

import csv
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import sr
from sr.checkpoint import onnx_file
from sr.checkpoint.architecture import compose_net_config
from sr.checkpoint.graph import ImageGraph, trace_graph
from sr.checkpoint.load import LoadedNet, load_checkpoint
from sr.config.build import build_part
from sr.config.schema import find_conf_dir
from sr.exporter import onnx as onnx_exporter
from sr.exporter import torch as torch_exporter
from sr.exporter.exporter import Exporter
from sr.exporter.verification import measure_agreement
from sr.image.read import read_rgb
from sr.image.write import to_uint8
from sr.runtime.error import UserError

DATA = Path(os.environ["SR_DATA"])
LEFT_OUT = ("spandrel", "edsr_large", "srresnet_small", "swinir")  # its weight file; classes of other choices, as large
CHANNELS = {"rgb": 3, "y": 1, "bands": 4}
CASES = [*((color, s) for color in ("rgb", "y", "bands") for s in (4, 3, 2)), ("rgb", 8)]
FEWER = {"blocks": 2, "groups": 2, "depth": 4, "depths": [2], "heads": [6]}  # layers of nets with random weights
SMALL = {"width": 8, "blocks": 1, "depth": 3, "groups": 1, "growth": 4, "depths": [2], "heads": [2], "window": 8}
EXPORTERS: dict[str, Exporter] = {"torch": torch_exporter.TorchExporter(), "onnx": onnx_exporter.OnnxExporter()}
FIELDS = ["net", "color", "scale", "weights", "parameters"]
FIELDS += [f"{key}_{what}" for key in ("onnx", "torch") for what in ("largest", "batches", "dB")] + ["cpu_s", "error"]


def find_weights(name: str, scale: int, color: str) -> tuple[str, int | None] | None:
    """Return a checkpoint of published weights and the scale to load it with, or None."""
    weights = DATA / "weights"
    known = {f"imdn {s} rgb": (f"{weights}/IMDN/IMDN_x{s}.pth", s) for s in (2, 3, 4)}
    known |= {f"vdsr {s} y": (f"{weights}/VDSR/vdsr_official.npz", s) for s in (2, 3, 4)}
    known |= {f"carn_m {s} rgb": (f"{weights}/CARN-M/carn_m.pth", s) for s in (2, 3, 4)}
    known |= {f"srvgg {s} rgb": (f"realesr_animevideov3_x{s}", s) for s in (2, 3, 4)}
    known |= {f"residual {s} y": (f"small_x{s}", s) for s in (2, 3, 4)}
    known |= {"rfdn 4 rgb": (f"{weights}/RFDN/RFDN_AIM.pth", 4), "rrdb 4 rgb": ("realesrgan_x4plus_anime", 4)}
    known |= {"efdn 4 rgb": (f"{weights}/NTIRE_ESR/team00_EFDN.pth", 4)}
    return known.get(f"{name} {scale} {color}")


def build_model(name: str, scale: int, color: str) -> tuple[LoadedNet, str]:
    """Return the net of a choice, and what its weights are."""
    found = find_weights(name, scale, color)
    if found:
        return load_checkpoint(found[0], scale=found[1]), Path(found[0]).name
    node = compose_net_config(name, scale, CHANNELS[color])
    is_wide = (color, scale) == ("rgb", 4) and "window" not in node
    node |= {k: v for k, v in (FEWER if is_wide else SMALL).items() if isinstance(node.get(k), type(v))}
    torch.manual_seed(0)
    net = build_part(node, "model.net").eval()
    model = LoadedNet(net, {"scale": scale, "color": color, "model": {"net": node}}, {}, 0)
    return model, "random, few layers" if is_wide else "random, small"


def read_set5(scale: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield LR in 0…1 and HR, `[1, 3, h, w]` each."""
    for file in sorted((DATA / "Set5" / "LR_bicubic" / f"X{scale}").glob("*.png")):
        lr, hr = read_rgb(file)[None] / 255, read_rgb(DATA / "Set5" / "HR" / f"{file.stem.partition('x')[0]}.png")
        yield lr, hr[None, :, : scale * lr.shape[2], : scale * lr.shape[3]]


def share_program() -> None:
    """Let both exporters use one traced program of the next network, because tracing takes a third of the time."""
    programs: list[Any] = []

    def trace_once(graph: ImageGraph) -> Any:
        if not programs:
            programs.append(trace_graph(graph))
        return programs[0]

    onnx_file.trace_graph = torch_exporter.trace_graph = trace_once


@torch.no_grad()
def measure(name: str, scale: int, color: str) -> dict[str, Any]:
    """Return a row: the largest differences of both files from PyTorch, in values of 0…1 and in dB of an image."""
    start = time.process_time()
    model, weights = build_model(name, scale, color)
    row: dict[str, Any] = {"net": name, "color": color, "scale": scale, "weights": weights}
    row["parameters"] = sum(weight.numel() for weight in model.net.parameters())
    share_program()
    files = {}
    with tempfile.TemporaryDirectory() as folder:
        for key, exporter in EXPORTERS.items():
            path = Path(folder, f"net{exporter.suffix}")
            try:
                exporter.write(model, path)
            except UserError as error:
                row["error"] = str(error)
                continue
            agreement = measure_agreement(exporter, model, path)
            row |= {f"{key}_largest": agreement.difference, f"{key}_batches": agreement.inputs}
            files[key] = exporter.load(path)
        reference = ImageGraph(model.net, color).eval()
        for lr, hr in read_set5(scale) if files and color != "bands" else ():
            expected = reference(lr)
            psnr = sr.score(to_uint8(expected), hr, scale)["psnr"]
            for key, file in files.items():
                found = file(lr)
                cost = abs(sr.score(to_uint8(found), hr, scale)["psnr"] - psnr)
                row[f"{key}_dB"] = max(row.get(f"{key}_dB", 0), cost)
                row[f"{key}_largest"] = max(row[f"{key}_largest"], float((found - expected).abs().max()))
    return row | {"cpu_s": round(time.process_time() - start, 1)}


def print_table(rows: list[dict[str, str]]) -> None:
    """Print a row of Markdown for each net: the largest values over its scales and colors."""
    print("| net | cases | published weights | ONNX | torch.export | ONNX, dB | torch.export, dB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in sorted({row["net"] for row in rows}):
        own = [row for row in rows if row["net"] == name]
        if any(row["error"] for row in own):
            print(f"| {name} | | | not possible | not possible | | |")
            continue
        published = sorted({row["weights"] for row in own if not row["weights"].startswith("random")})
        measured: dict[str, str] = {}
        for row in own:
            measured[row["color"]] = measured.get(row["color"], row["color"]) + f" ×{row['scale']}"
        cells = [name, ", ".join(measured.values()), ", ".join(published)]
        for what in ("largest", "dB"):
            columns = [
                [float(row[f"{key}_{what}"]) for row in own if row[f"{key}_{what}"]] for key in ("onnx", "torch")
            ]
            cells += [f"{max(column):.1e}" for column in columns]
        print(f"| {' | '.join(cells)} |")


def read_rows(results: Path) -> list[dict[str, str]]:
    """Return what has been measured."""
    return list(csv.DictReader(results.open())) if results.exists() else []


def main() -> None:
    """Measure what `RESULTS` does not have yet."""
    results, *nets = sys.argv[1:]
    path = Path(results)
    if nets == ["--table"]:
        print_table(read_rows(path))
        return
    choices = sorted(file.stem for file in (find_conf_dir() / "model" / "net").glob("*.yaml"))
    cases = [(name, scale, color) for color, scale in CASES for name in nets or choices if name not in LEFT_OUT]
    done = {(row["net"], int(row["scale"]), row["color"]) for row in read_rows(path)}
    if not path.exists():
        path.write_text(",".join(FIELDS) + "\n")
    torch.set_num_threads(1)
    for i, case in enumerate(cases):
        if case in done:
            continue
        row = measure(*case)
        with path.open("a", newline="") as file:
            csv.DictWriter(file, FIELDS, lineterminator="\n").writerow(row)
        print(f"{i + 1}/{len(cases)}: {row}", flush=True)


if __name__ == "__main__":
    main()
