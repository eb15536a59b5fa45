"""The graphs of Real-ESRGAN's nets as its authors' files of ncnn have them, with the names of their weights in sr."""

from typing import Any, NamedTuple

CONVOLUTION, PRELU = "Convolution", "PReLU"
Value = tuple[float, ...]
PLAIN: dict[str, Value] = {"1": (3,), "4": (1,), "5": (1,)}  # 3×3, padded by 1, with a bias
LEAKY: dict[str, Value] = {**PLAIN, "9": (2,), "-23310": (1, 0.2)}  # followed by a leaky ReLU of slope 0.2
SCALED_SUM: dict[str, Value] = {"0": (1,), "-23301": (2, 0.2, 1)}  # 0.2·a + b
NEAREST, BICUBIC = 1, 3


class Node(NamedTuple):
    """A layer: its type, the indices of its inputs in the graph, and its parameters by number, without its size."""

    kind: str
    inputs: tuple[int, ...]
    options: dict[str, Value]


Graph = list[Node]


class ExpectedNet(NamedTuple):
    """A graph, the names of its weights in the order of the file, and the config of the net."""

    graph: Graph
    names: list[str]
    config: dict[str, Any]


class GraphBuilder:
    """Add nodes to a graph."""

    def __init__(self) -> None:
        self.graph: Graph = [Node("Input", (), {})]
        self.names: list[str] = []

    def add(self, kind: str, *inputs: int, **options: Value) -> int:
        """Add a node and return its index."""
        self.graph.append(Node(kind, inputs, options))
        return len(self.graph) - 1

    def add_convolution(self, name: str, source: int, options: dict[str, Value]) -> int:
        """Add a 3×3 convolution whose weights are called `name`."""
        self.names += [f"{name}.weight", f"{name}.bias"]
        return self.add(CONVOLUTION, source, **options)

    def add_prelu(self, name: str, source: int) -> int:
        """Add a PReLU whose slopes are called `name`."""
        self.names.append(f"{name}.weight")
        return self.add(PRELU, source)

    def add_resize(self, source: int, kind: int, factor: float) -> int:
        """Add a resize, nearest or bicubic."""
        return self.add("Interp", source, **{"0": (kind,), "1": (factor,), "2": (factor,)})


def build_rrdb(blocks: int) -> ExpectedNet:
    """Return ×4 RRDBNet (`sr.net.rrdb`)."""
    builder = GraphBuilder()
    first = x = builder.add_convolution("conv_first", 0, PLAIN)
    for b in range(blocks):
        block = x
        for r in (1, 2, 3):
            outputs = [x]
            for k in (1, 2, 3, 4):
                source = builder.add("Concat", *outputs) if k > 1 else x
                outputs.append(builder.add_convolution(f"body.{b}.rdb{r}.conv{k}", source, LEAKY))
            source = builder.add("Concat", *outputs)
            x = builder.add(
                "Eltwise", builder.add_convolution(f"body.{b}.rdb{r}.conv5", source, PLAIN), x, **SCALED_SUM
            )
        x = builder.add("Eltwise", x, block, **SCALED_SUM)
    x = builder.add("BinaryOp", first, builder.add_convolution("conv_body", x, PLAIN))
    for name in ("conv_up1", "conv_up2"):
        x = builder.add_convolution(name, builder.add_resize(x, NEAREST, 2), LEAKY)
    x = builder.add_convolution("conv_hr", x, LEAKY)
    builder.add_convolution("conv_last", x, PLAIN)
    net = {"_target_": "sr.net.rrdb.RRDBNet", "scale": 4, "channels": 3, "width": 64, "blocks": blocks, "growth": 32}
    return ExpectedNet(builder.graph, builder.names, {"scale": 4, "color": "rgb", "model": {"net": net}})


def build_srvgg(depth: int, last: Node) -> ExpectedNet:
    """Return ×4 SRVGGNetCompact (`sr.net.srvgg`); a resize as the `last` node makes it one of ×2 or ×3."""
    builder = GraphBuilder()
    x = 0
    for k in range(max(depth, 0) + 1):
        x = builder.add_convolution(f"body.{2 * k}", x, PLAIN)
        x = builder.add_prelu(f"body.{2 * k + 1}", x)
    x = builder.add_convolution(f"body.{2 * max(depth, 0) + 2}", x, PLAIN)
    x = builder.add("PixelShuffle", x, **{"0": (4,)})
    x = builder.add("BinaryOp", x, builder.add_resize(0, NEAREST, 4))
    scale = 4
    if last.kind == "Interp":
        scale = {(0.5,): 2, (0.75,): 3}.get(last.options.get("1"), 4)
        builder.add_resize(x, BICUBIC, scale / 4)
    net = {"_target_": "sr.net.srvgg.SRVGGNetCompact", "scale": scale, "channels": 3, "width": 64, "depth": depth,
           "shuffle": 4}  # fmt: skip
    return ExpectedNet(builder.graph, builder.names, {"scale": scale, "color": "rgb", "model": {"net": net}})
