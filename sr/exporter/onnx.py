"""ONNX (https://onnx.ai), the format that most runtimes read."""

import contextlib
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from sr.checkpoint.load import LoadedNet
from sr.exporter.exporter import Exporter
from sr.exporter.graph import ImageGraph, explain_failure, make_graph, trace_graph
from sr.exporter.price import Crop, Price, measure_price, read_crops
from sr.exporter.quantization import quantize
from sr.net.onnx import KEY, OnnxNet, import_onnxruntime
from sr.runtime.error import UserError
from sr.runtime.option_types import PathStr

# For noise, which leaves the ranges of int8 (2: it is finite, and of the right size); their cost on photographs is in dB.
TOLERANCES = {"fp16": 0.1, "int8": 2.0}
MAX_FOLDED = 1 << 22  # elements of a tensor
MAX_BYTES = (1 << 31) - 1  # of a file of protobuf


class OnnxExporter(Exporter):
    """Exports by `torch.onnx.export(dynamo=True)`. Input and output are called `lr` and `sr`."""

    name, suffix = "ONNX", ".onnx"

    def __init__(
        self,
        opset: int = 20,
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
        onnx = _import_onnx()
        graph = make_graph(model, self.dtype)
        crops = self._read_crops(model) if self.precision == "int8" else []
        with silence_exporter():
            try:
                program = torch.onnx.export(
                    trace_graph(graph), dynamo=True, opset_version=self.opset, input_names=["lr"], output_names=["sr"],
                    verbose=False,
                )  # fmt: skip
            except (torch.onnx.errors.OnnxExporterError, RuntimeError, TypeError, ValueError) as error:
                raise explain_failure(model, error) from None
        proto = _fold_constants(program.model_proto)
        if self.precision == "fp16":
            proto = _convert_to_fp16(proto)
        elif self.precision == "int8":
            with silence_exporter():
                proto = quantize(proto, crops[::2], self.dtype)
        described = {
            "scale": model.scale, "channels": graph.channels, "receptive_field": graph.net.receptive_field,
            "depends_on_size": getattr(graph.net, "depends_on_size", False), "color": model.color,
            "net": model.config["model"]["net"]["_target_"], "weights_sha256": model.sha256,
        }  # fmt: skip
        onnx.helper.set_model_props(proto, {KEY: json.dumps(described)})
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


@contextlib.contextmanager
def silence_exporter() -> Iterator[None]:
    """Suppress the warnings of PyTorch's exporter, which are for its developers."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(logging.NOTSET)


def _fold_constants(proto: object) -> object:
    """Compute what depends on weights alone, such as parts of them: a quantization needs weights that are constants."""
    from onnxscript import optimizer

    return optimizer.optimize(proto, input_size_limit=MAX_FOLDED, output_size_limit=MAX_FOLDED)


def _convert_to_fp16(proto: object) -> object:
    """Return the model with weights and features of 16 bits, and input and output as they were."""
    import_onnxruntime()
    from onnxruntime.transformers.float16 import convert_float_to_float16

    return convert_float_to_float16(proto, keep_io_types=True)


def _import_onnx() -> object:
    try:
        import onnx
        import onnxscript  # noqa: F401  which torch.onnx needs
    except ImportError as error:
        raise UserError(f"exporter=onnx needs onnx and onnxscript ({error}): pip install 'sr[onnx]'") from None
    import_onnxruntime()
    return onnx
