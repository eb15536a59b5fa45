"""ONNX (https://onnx.ai), the format that most runtimes read."""

from pathlib import Path
from typing import Literal

from torch import nn

from sr.checkpoint.graph import ImageGraph, make_graph
from sr.checkpoint.load import LoadedNet
from sr.checkpoint.onnx_file import OPSET, convert_to_onnx, describe_graph, silence_exporter
from sr.exporter.exporter import Exporter
from sr.exporter.price import Crop, Price, measure_price, read_crops
from sr.exporter.quantization import quantize
from sr.net.onnx import OnnxNet, import_onnxruntime
from sr.runtime.error import UserError
from sr.runtime.option_types import PathStr

# For noise, which leaves the ranges of int8 (2: it is finite, and of the right size); their cost on photographs is in dB.
TOLERANCES = {"fp16": 0.1, "int8": 2.0}
MAX_BYTES = (1 << 31) - 1  # of a file of protobuf


class OnnxExporter(Exporter):
    """Exports by PyTorch (`sr.checkpoint.onnx_file`). Input and output are called `lr` and `sr`."""

    name, suffix = "ONNX", ".onnx"

    def __init__(
        self,
        opset: int = OPSET,
        dtype: Literal["float32", "uint8"] = "float32",
        precision: Literal["fp32", "fp16", "int8"] = "fp32",
        calibration: PathStr | None = None,
    ) -> None:
        if calibration is not None and precision != "int8":
            raise UserError(f"exporter.calibration={calibration}: expected exporter.precision=int8 (found {precision})")
        self.opset, self.dtype, self.precision, self.calibration = opset, dtype, precision, calibration
        if precision != "fp32":
            self.tolerance = TOLERANCES[precision]
        elif dtype == "uint8":
            self.tolerance = 1.001 / 255  # a value next to the middle of two levels

    def write(self, model: LoadedNet, path: Path) -> None:
        graph = make_graph(model, self.dtype)
        crops = self._read_crops(model) if self.precision == "int8" else []
        proto = convert_to_onnx(graph, model, self.opset)
        if self.precision == "fp16":
            proto = _convert_to_fp16(proto)
        elif self.precision == "int8":
            with silence_exporter():
                proto = quantize(proto, crops[::2], self.dtype)
        describe_graph(proto, graph, model, model.color)
        if proto.ByteSize() > MAX_BYTES:
            raise UserError(f"checkpoint: {proto.ByteSize() / 1e9:.1f} GB of weights do not fit into one file of ONNX")
        path.write_bytes(proto.SerializeToString())

    def load(self, path: Path) -> nn.Module:
        return OnnxNet(path)

    def measure_price(self, model: LoadedNet, path: Path) -> Price | None:
        if self.precision == "fp32":
            return None
        reference = ImageGraph(model.net.cpu(), model.color).eval()
        return measure_price(reference, self.load(path), self._read_crops(model)[1::2])

    def _read_crops(self, model: LoadedNet) -> list[Crop]:
        return read_crops(self.calibration, model.scale, 3 if model.color == "y" else model.channels)

    def write_usage(self, file: str, model: LoadedNet) -> str:
        is_float = self.dtype == "float32"
        return (
            "import numpy as np\nimport onnxruntime\nfrom PIL import Image\n\n"
            f'image = Image.open("photo.jpg").convert("{"L" if model.color == "gray" else "RGB"}")\n'
            "lr = np.atleast_3d(np.asarray(image)).transpose(2, 0, 1)[None]  # [1, C, h, w]\n"
            f'session = onnxruntime.InferenceSession("{file}")\n'
            f'(sr,) = session.run(None, {{"lr": lr{".astype(np.float32) / 255" if is_float else ""}}})\n'
            f"{'sr = (sr.clip(0, 1) * 255 + 0.5).astype(np.uint8)' if is_float else '# sr is uint8, as lr'}\n"
            f'Image.fromarray(sr[0].transpose(1, 2, 0).squeeze()).save("photo_x{model.scale}.png")\n'
        )


def _convert_to_fp16(proto: object) -> object:
    """Return the model with weights and features of 16 bits, and input and output as they were."""
    import_onnxruntime()
    from onnxruntime.transformers.float16 import convert_float_to_float16

    return convert_float_to_float16(proto, keep_io_types=True)
