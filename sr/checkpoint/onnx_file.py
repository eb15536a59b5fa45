"""Write a network as a graph of ONNX (https://onnx.ai), for images of any size."""

import contextlib
import json
import logging
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import torch

from sr.checkpoint.graph import ImageGraph, explain_failure, trace_graph
from sr.checkpoint.load import LoadedNet
from sr.net.onnx import KEY, import_onnxruntime
from sr.runtime.error import UserError

OPSET = 20
MAX_FOLDED = 1 << 22  # elements of a tensor


def convert_to_onnx(graph: ImageGraph, model: LoadedNet, opset: int = OPSET) -> Any:
    """Return the ONNX model of a graph of `model`, by `torch.onnx.export(dynamo=True)`; its input and output: `lr`, `sr`.

    Raises:
        UserError: the net cannot be traced for all sizes, or a package is missing.
    """
    import_onnx()
    with silence_exporter():
        try:
            program = torch.onnx.export(
                trace_graph(graph), dynamo=True, opset_version=opset, input_names=["lr"], output_names=["sr"],
                verbose=False,
            )  # fmt: skip
        except (torch.onnx.errors.OnnxExporterError, RuntimeError, TypeError, ValueError) as error:
            raise explain_failure(model, error) from None
    return _fold_constants(program.model_proto)


def describe_graph(proto: Any, graph: ImageGraph, model: LoadedNet, color: str) -> None:
    """Write into the model what `OnnxNet` reads from it; `color` is that of the images."""
    described = {
        "scale": model.scale, "channels": graph.channels, "receptive_field": graph.net.receptive_field,
        "depends_on_size": getattr(graph.net, "depends_on_size", False), "color": color,
        "net": model.config["model"]["net"]["_target_"], "weights_sha256": model.sha256,
    }  # fmt: skip
    import_onnx().helper.set_model_props(proto, {KEY: json.dumps(described)})


@contextlib.contextmanager
def silence_exporter() -> Iterator[None]:
    """Suppress the warnings of PyTorch's exporter, which are for its developers."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(logging.NOTSET)


def import_onnx() -> ModuleType:
    """Return the package onnx, or raise with the extra that has it."""
    try:
        import onnx
        import onnxscript  # noqa: F401  which torch.onnx needs
    except ImportError as error:
        raise UserError(f"ONNX: needs onnx and onnxscript ({error}): pip install 'sr[onnx]'") from None
    import_onnxruntime()
    return onnx


def _fold_constants(proto: Any) -> Any:
    """Compute what depends on weights alone, such as parts of them: a quantization needs weights that are constants."""
    from onnxscript import optimizer

    return optimizer.optimize(proto, input_size_limit=MAX_FOLDED, output_size_limit=MAX_FOLDED)
