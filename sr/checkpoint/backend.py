"""`backend=…` and `precision=…`: compute a loaded network by onnxruntime or OpenVINO, or in bfloat16.

A network of PyTorch is exported to ONNX once; the graph stays in the cache, under a digest of its options and weights.
"""

import hashlib
import os
import sys
from pathlib import Path

import torch

from sr.checkpoint.agreement import TOLERANCE, compare_nets
from sr.checkpoint.graph import ImageGraph, make_graph
from sr.checkpoint.load import LoadedNet
from sr.checkpoint.onnx_file import convert_to_onnx, describe_graph
from sr.net.bf16 import Bf16Net
from sr.net.onnx import OnnxNet, import_onnxruntime
from sr.net.openvino import OpenVinoNet, import_openvino
from sr.runtime.error import UserError
from sr.runtime.terminal import print_note

GRAPH_BACKENDS = ("onnxruntime", "openvino")
CACHE_FOLDER = "onnx"
SIDES = ((37, 53), (64, 40), (9, 8))  # heights and widths of the LR images that a graph is checked with
BATCHES = (1, 2)  # and their numbers


def check_backend(backend: str | None, precision: str, device: str, engine: str) -> None:
    """Raise unless the options can be combined. `backend` None is torch, or what a checkpoint needs."""
    if engine == "ray" and (backend or precision == "bf16"):
        asked = f"backend={backend}" if backend else f"precision={precision}"
        raise UserError(f"{asked}: expected engine=auto, none or process (found engine=ray); leave one of them out")
    if backend == "onnxruntime" and precision == "bf16":
        raise UserError("precision=bf16: expected backend=torch or backend=openvino (found onnxruntime); leave one out")
    if backend in GRAPH_BACKENDS and device not in ("auto", "cpu"):
        raise UserError(f"backend={backend}: expected device=cpu (found {device}); leave one of them out")
    if backend == "onnxruntime":
        import_onnxruntime()
    elif backend == "openvino":
        import_openvino()


def change_backend(model: LoadedNet, backend: str | None, precision: str, cache: Path) -> LoadedNet:
    """Return the model with its network computed as the options say; `model` itself with the defaults.

    Raises:
        UserError: a package is missing, or the network cannot be exported for images of any size.
    """
    is_graph, is_bf16 = isinstance(model.net, OnnxNet), precision == "bf16"
    if is_graph and (backend == "torch" or (is_bf16 and backend is None)):
        asked = f"precision={precision}" if backend is None else f"backend={backend}"
        raise UserError(f"{asked}: expected a checkpoint with weights (found a graph of ONNX); leave it out")
    if backend in GRAPH_BACKENDS:
        file = model.net.file if is_graph else export_to_cache(model, cache)
        if backend == "openvino":
            return model._replace(net=OpenVinoNet(file, model.net, is_bf16))
        return model if is_graph else model._replace(net=OnnxNet(file))
    return model._replace(net=Bf16Net(model.net)) if is_bf16 else model


def export_to_cache(model: LoadedNet, cache: Path) -> Path:
    """Return the file of the network's graph, which is exported if the cache has none of this network."""
    file = cache / CACHE_FOLDER / f"{_digest_net(model)}.onnx"
    if file.exists():
        return file
    print_note("the network is exported to ONNX, once; deep ones take a minute or two")
    graph = ImageGraph(make_graph(model, "float32").net, "rgb").eval()  # colors are converted by the caller
    proto = convert_to_onnx(graph, model)
    describe_graph(proto, graph, model, "rgb")
    draft = file.with_suffix(f".{os.getpid()}.part")  # of this process: others may export the same network
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(proto.SerializeToString())
        agreement = compare_nets(graph, OnnxNet(draft), graph.channels, SIDES, BATCHES)
        if agreement.difference > TOLERANCE:
            raise UserError(
                f"backend: expected a graph that computes what PyTorch does (found a difference of "
                f"{agreement.difference:.1e} for {agreement.worst}); this network needs backend=torch"
            )
        draft.replace(file)
    except OSError as error:
        raise UserError(f"paths.cache={cache}: cannot be written ({error.strerror or error})") from None
    finally:
        draft.unlink(missing_ok=True)
    return file


def _digest_net(model: LoadedNet) -> str:
    """Return the SHA-256 of options, layers and weights, and of the versions of sr and of PyTorch, which exports.

    Not all options show in the layers or in the weights, as EDSR's `res_scale`, by which it multiplies.
    """
    versions = (sys.modules["sr"].__version__, torch.__version__)
    digest = hashlib.sha256(repr((model.config["model"]["net"], model.net, versions)).encode())
    for name, tensor in model.net.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
