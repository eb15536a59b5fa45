"""The program of `torch.export` (https://docs.pytorch.org/docs/stable/export.html), which PyTorch runs without sr."""

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from sr.checkpoint.graph import explain_failure, make_graph, trace_graph
from sr.checkpoint.load import LoadedNet
from sr.checkpoint.onnx_file import silence_exporter
from sr.exporter.exporter import Exporter


class TorchExporter(Exporter):
    """Writes a `.pt2`, the archive of `torch.export.save`.

    It is executed without PyTorch's guards: they refuse sizes that the example does not stand for, such as an image of a
    single window, although the operations are right for them, as `measure_agreement` shows for each file.
    """

    name, suffix = "torch.export", ".pt2"

    def __init__(self, dtype: Literal["float32", "uint8"] = "float32") -> None:
        self.dtype = dtype
        if dtype == "uint8":
            self.tolerance = 1.001 / 255  # a value next to the middle of two levels

    def write(self, model: LoadedNet, path: Path) -> None:
        with silence_exporter():
            try:
                program = trace_graph(make_graph(model, self.dtype))
            except (RuntimeError, TypeError, ValueError) as error:
                raise explain_failure(model, error) from None
            torch.export.save(program, path)

    def load(self, path: Path) -> nn.Module:
        with silence_exporter():
            program = torch.export.load(path).module(check_guards=False)
        return _Program(program, self.dtype == "uint8")

    def write_usage(self, file: str, model: LoadedNet) -> str:
        values = "uint8" if self.dtype == "uint8" else "float32 in 0…1"
        return (
            "import torch\n\n"
            f'program = torch.export.load("{file}").module(check_guards=False)  # small images have been checked\n'
            f"sr = program(lr)  # [B, C, h, w], {values} -> [B, C, {model.scale}·h, {model.scale}·w]\n"
        )


class _Program(nn.Module):
    def __init__(self, program: nn.Module, is_uint8: bool) -> None:
        super().__init__()
        self.program, self.is_uint8 = program, is_uint8

    def forward(self, lr: Tensor) -> Tensor:
        if not self.is_uint8:
            return self.program(lr)
        return self.program((lr * 255 + 0.5).clamp(0, 255).to(torch.uint8)).float() / 255
