"""Read the networks of ncnn (https://github.com/Tencent/ncnn) that are Real-ESRGAN's: a `.param` with its `.bin` next to it.

The `.param` is text: a line for each layer, with its type, inputs, outputs and parameters by number. The `.bin` holds the
weights in the order of the layers. Nothing in them is executed. The graph must be exactly that of a net of sr: weights
alone would fit another graph as well, and give wrong images.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sr.pretrained.ncnn_graph import CONVOLUTION, PRELU, Graph, Node, build_rrdb, build_srvgg
from sr.runtime.error import UserError

MAGIC = "7767517"
FLOAT16, FLOAT32 = 0x01306B47, 0  # tags before the weights of a convolution
OTHER_TAGS = {0x000D4B38: "int8", 0x0002C056: "float32 with a scale"}
MAX_TEXT = 1 << 22  # bytes of a .param
MAX_CHANNELS = 4096
SIZE, WIDTH = "6", "0"  # numbers of parameters
DAMAGED = "not a network of ncnn, or a damaged one"


class Layer(NamedTuple):
    """A line of a `.param`."""

    kind: str
    name: str
    inputs: list[str]
    outputs: list[str]
    options: dict[str, str]  # number -> text of the value

    def read_int(self, key: str, maximum: int) -> int:
        """Return a parameter that must be a number from 1 to `maximum`."""
        text = self.options.get(key, "")
        if not re.fullmatch(r"\d{1,12}", text, re.ASCII) or not 1 <= int(text) <= maximum:
            raise UserError(f"{self.name}: expected {key}=1…{maximum} (found {text or 'nothing'})")
        return int(text)


def read_ncnn_weights(path: Path) -> dict[str, Tensor]:
    """Return the weights of `path`, a `.param`, in float32 under the names of the net of sr that it is.

    Raise a `UserError` that does not name the file if it is damaged, or no net of sr.
    """
    layers = _read_layers(path)
    names, _ = _recognize_net(_trace_graph(layers))
    return dict(zip(names, _read_bin(path.with_suffix(".bin"), layers), strict=True))


def read_ncnn_config(path: Path) -> dict[str, Any]:
    """Return scale, color and model.net of `path`, a `.param`; errors as in `read_ncnn_weights`."""
    return _recognize_net(_trace_graph(_read_layers(path)))[1]


def _read_layers(path: Path) -> list[Layer]:
    if path.stat().st_size > MAX_TEXT:
        raise UserError(f"{DAMAGED} (a text of more than {MAX_TEXT} bytes)")
    try:
        return list(_parse_layers(path.read_text("ascii")))
    except UnicodeDecodeError:
        raise UserError(f"{DAMAGED} (it is no text)") from None


def _parse_layers(text: str) -> Iterator[Layer]:
    magic, counts, *lines = [line.split() for line in text.splitlines() if line.strip()] + [[], []]
    lines = [line for line in lines if line]
    if magic != [MAGIC] or not counts:
        raise UserError(f"{DAMAGED} (its first line is not {MAGIC})")
    if counts[0] != str(len(lines)):
        raise UserError(f"{DAMAGED} (it has {len(lines)} layers, and states {counts[0]})")
    for words in lines:
        if len(words) < 4 or not (words[2].isdigit() and words[3].isdigit()) or len(words[2] + words[3]) > 6:
            raise UserError(f"{DAMAGED} (the layer {' '.join(words[:4])})")
        start, end = 4 + int(words[2]), 4 + int(words[2]) + int(words[3])
        options = dict(word.split("=", 1) for word in words[end:] if "=" in word)
        if len(words) < end or len(options) != len(words) - end:
            raise UserError(f"{DAMAGED} (the layer {words[1]})")
        yield Layer(words[0], words[1], words[4:start], words[start:end], options)


def _trace_graph(layers: list[Layer]) -> Graph:
    """Return the graph: each node refers to its inputs by their index. The size of layers is left to the weights."""
    graph: Graph = []
    sources: dict[str, int] = {}  # name of a blob -> index of the node that computes it
    for layer in layers:
        unknown = [blob for blob in layer.inputs if blob not in sources]
        if unknown or not layer.outputs:
            raise UserError(f"{DAMAGED} (the layer {layer.name} has an unknown input, or no output)")
        inputs = tuple(sources[blob] for blob in layer.inputs)
        if layer.kind == "Split" and len(inputs) == 1:
            sources |= dict.fromkeys(layer.outputs, inputs[0])
            continue
        has_weights = layer.kind in (CONVOLUTION, PRELU)
        ignored = {WIDTH, SIZE} if has_weights else set()
        options = {key: _read_value(value) for key, value in layer.options.items() if key not in ignored}
        graph.append(Node(layer.kind, inputs, options))
        sources |= dict.fromkeys(layer.outputs, len(graph) - 1)
    return graph


def _read_value(text: str) -> tuple[float, ...]:
    """Return a number, or the numbers of an array without their count."""
    try:
        return tuple(map(float, text.split(",")))
    except ValueError:
        raise UserError(f"{DAMAGED} (the value {text[:40]})") from None


def _recognize_net(graph: Graph) -> tuple[list[str], dict[str, Any]]:
    """Return the names of the weights in the order of the graph, and the config of the net that it is."""
    kinds = [node.kind for node in graph]
    if PRELU in kinds:
        expected = build_srvgg(kinds.count(CONVOLUTION) - 2, graph[-1])
    else:
        expected = build_rrdb((kinds.count(CONVOLUTION) - 6) // 15)
    if expected.graph != graph:
        pairs = zip(expected.graph, graph, strict=False)
        k = next((k for k, (a, b) in enumerate(pairs) if a != b), min(len(expected.graph), len(graph)))
        found = f"{graph[k].kind} {graph[k].options}" if k < len(graph) else "its end"
        raise UserError(f"expected Real-ESRGAN's RRDBNet or SRVGGNetCompact (found {found} as layer {k + 1})")
    return expected.names, expected.config


def _read_bin(path: Path, layers: list[Layer]) -> Iterator[Tensor]:
    """Yield weight and bias of each convolution, and the slopes of each PReLU, as float32."""
    if not path.is_file():
        raise UserError(f"expected its weights next to it, {path.name} (there is no such file)")
    sizes = [_compute_sizes(layer) for layer in layers if layer.kind in (CONVOLUTION, PRELU)]
    limit = sum(4 + 4 * count + 4 * width for count, _, width in sizes)
    if path.stat().st_size > limit:
        raise UserError(f"{path.name} is longer than its weights ({path.stat().st_size} bytes)")
    reader = BinReader(path)
    for count, inputs, width in sizes:
        if count:
            yield reader.read_tagged(count).reshape(width, inputs, 3, 3)
        yield reader.read_array(width, "<f4")
    reader.require_end()


def _compute_sizes(layer: Layer) -> tuple[int, int, int]:
    """Return the number of weights, of input channels and of biases or slopes."""
    width = layer.read_int(WIDTH, MAX_CHANNELS)
    if layer.kind == PRELU:
        return 0, 0, width
    count = layer.read_int(SIZE, 9 * MAX_CHANNELS**2)
    if count % (9 * width):
        raise UserError(f"{layer.name}: expected 6= a multiple of 9·{width} (found {count})")
    return count, count // (9 * width), width


class BinReader:
    """Read the arrays of a `.bin` one after the other, never past its end."""

    def __init__(self, path: Path) -> None:
        self.name, self.content, self.position = path.name, path.read_bytes(), 0

    def read_tagged(self, count: int) -> Tensor:
        """Return weights after a tag that says how they are stored."""
        tag = int(self._read(1, "<u4")[0])
        if tag == FLOAT16:
            weights = self.read_array(count, "<f2")
            self.position += -self.position % 4  # padded
            return weights
        if tag == FLOAT32:
            return self.read_array(count, "<f4")
        kind = OTHER_TAGS.get(tag, f"tag {tag:#010x}")
        raise UserError(f"{self.name}: expected weights in float16 or float32 (found {kind})")

    def read_array(self, count: int, dtype: str) -> Tensor:
        """Return `count` numbers as float32."""
        return torch.from_numpy(self._read(count, dtype).astype(np.float32))

    def require_end(self) -> None:
        """Raise if there are bytes left."""
        if self.position != len(self.content):
            raise UserError(f"{self.name}: it has {len(self.content)} bytes, its weights {self.position}; {DAMAGED}")

    def _read(self, count: int, dtype: str) -> np.ndarray:
        end = self.position + count * np.dtype(dtype).itemsize
        if end > len(self.content):
            raise UserError(f"{self.name} is truncated: it has {len(self.content)} bytes; copy or download it again")
        array = np.frombuffer(self.content, dtype, count, self.position)
        self.position = end
        return array
