"""Quantize a graph of ONNX to 8 bits with real images.

Activations are quantized to the ranges of all but 10⁻⁵ of their values on photographs (calibration), weights for each channel
(Krishnamoorthi, "Quantizing deep convolutional networks for efficient inference", 2018, https://arxiv.org/abs/1806.08342).
The first and the last convolution, which see and make the levels of the image, remain float, and so do those of pooled
features: a channel attention costs no time, and its weights change everything.
"""

import contextlib
import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from sr.exporter.price import Crop
from sr.net.onnx import import_onnxruntime
from sr.runtime.error import UserError

QUANTIZED = ("Conv",)  # sums and activations remain float: their errors would add up


def quantize(proto: Any, crops: list[Crop], dtype: str) -> Any:
    """Return the model with 8-bit convolutions (QDQ: weights signed, activations unsigned), calibrated with `crops`."""
    import onnx

    import_onnxruntime()
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.crops = iter(crops)

        def get_next(self) -> dict[str, np.ndarray] | None:
            crop = next(self.crops, None)
            return None if crop is None else {"lr": _to_input(crop, dtype)}

    convolutions = [node.name for node in proto.graph.node if node.op_type == "Conv"]
    if len(convolutions) < 3:
        raise UserError(
            f"exporter.precision=int8: expected a net of three convolutions or more (found {len(convolutions)}), of which "
            "the first and the last remain float; use precision=fp32"
        )
    pooled = _find_pooled(proto)
    with tempfile.TemporaryDirectory(prefix="sr-export-") as folder, contextlib.redirect_stdout(io.StringIO()):
        path = Path(folder, "int8.onnx")
        quantize_static(
            proto, path, Reader(), calibrate_method=CalibrationMethod.Percentile, per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            op_types_to_quantize=list(QUANTIZED), nodes_to_exclude=[convolutions[0], convolutions[-1], *pooled],
        )  # fmt: skip
        return onnx.load(path)


def _find_pooled(proto: Any) -> list[str]:
    """Return the convolutions whose output is a single pixel, whatever the size of the image."""
    shapes = {value.name: value.type.tensor_type.shape.dim for value in proto.graph.value_info}
    return [
        node.name
        for node in proto.graph.node
        if node.op_type == "Conv" and [dim.dim_value for dim in shapes.get(node.output[0], ())][2:] == [1, 1]
    ]


def _to_input(crop: Crop, dtype: str) -> np.ndarray:
    return crop.lr.numpy() if dtype == "uint8" else crop.lr.numpy().astype(np.float32) / 255
