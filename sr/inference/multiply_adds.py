"""Count a net's multiply-adds from shapes alone, by PyTorch's own formulas, without importing torch._dynamo.

PyTorch's `FlopCounterMode` imports it, and so do the shapes of simple operations on the meta device: it takes more than a
second. Other operations than those that are inferred here, such as attention, are left to PyTorch.
"""

import copy
import math
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

OUTPUT_SIZE = (720, 1280)  # height and width of the output for which the papers count multiply-adds
ELEMENTWISE = (  # operations whose result has the shape that their arguments are broadcast to
    *("abs", "add", "clamp", "clamp_min", "div", "exp", "gelu", "hardtanh", "leaky_relu", "mul", "neg", "pow"),
    *("_prelu_kernel", "relu", "rsqrt", "sigmoid", "silu", "sqrt", "sub", "tanh"),
)


def count_multiply_adds(
    net: nn.Module, channels: int, scale: int, lr_size: tuple[int, int] | None = None
) -> int | None:
    """Return the multiply-adds of convolutions, linear layers and matrix products for one 1280×720 *output*.

    This is what the tables report since CARN (2018); `lr_size` is the height and width of another LR image instead. Only
    shapes are computed, on the meta device; None for a net that cannot run there.
    """
    height, width = lr_size or (math.ceil(n / scale) for n in OUTPUT_SIZE)
    counter = _Counter()
    with torch.inference_mode(False), torch.no_grad():  # in inference mode other operations than these are dispatched
        lr = torch.empty(1, channels, height, width, device="meta")
        try:
            meta_net = copy.deepcopy(net).to("meta")
            with torch.device("meta"), counter:  # masks that forward creates are meta tensors as well
                meta_net(lr)
        except Exception:  # the forward of a user's own net may do anything that needs real numbers
            return None
    return counter.operations // 2


class _Counter(TorchDispatchMode):
    """Counts the floating-point operations of products inside the context."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Return False, or PyTorch imports torch._dynamo to exclude `__torch_dispatch__` from compiled code."""
        return False

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = _infer(function, args, kwargs)
        if result is None:
            result = function(*args, **kwargs)
        formula = flop_registry.get(function.overloadpacket)
        if formula is not None and args[0].is_meta:  # not of a table that forward computes once, on the CPU
            self.operations += formula(*args, **kwargs, out_val=result)
        return result


def _infer(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the result of an operation that most nets use, on float32, as meta tensors; None: PyTorch has to infer it."""
    name = function.overloadpacket.__name__
    values = args[0] if name == "cat" else (*args, *kwargs.values())
    tensors = [value for value in values if isinstance(value, Tensor)]
    if not tensors or any(x.dtype != torch.float32 or not x.is_meta for x in tensors):
        return None
    first, shape = tensors[0], None
    if name.removesuffix("_") in ELEMENTWISE:
        columns = zip_longest(*(reversed(x.shape) for x in tensors), fillvalue=1)
        shape = [max(column) for column in columns][::-1]  # torch.broadcast_shapes imports sympy
    elif name == "convolution":
        shape = _infer_convolution(first, args[1], *args[3:9])
    elif name == "cat":
        dim = args[1] if len(args) > 1 else 0
        shape = (*first.shape[:dim], sum(x.shape[dim] for x in tensors), *first.shape[dim:][1:])
    elif name == "mean" and len(args) > 2 and args[2]:  # keepdim
        averaged = [dim % first.dim() for dim in args[1]]
        shape = [1 if dim in averaged else n for dim, n in enumerate(first.shape)]
    elif name in ("upsample_bilinear2d", "upsample_nearest2d"):
        shape = (*first.shape[:2], *args[1])
    elif name == "pixel_shuffle":
        b, c, h, w = first.shape
        shape = (b, c // args[1] ** 2, h * args[1], w * args[1])
    elif name == "mv":
        shape = first.shape[:1]
    elif name == "native_batch_norm" and not args[5]:  # of a net in eval mode
        shape = first.shape
    if shape is None:
        return None
    result = first if name.endswith("_") else first.new_empty(shape)
    return (result, *first.new_empty(2, 0)) if name == "native_batch_norm" else result


def _infer_convolution(
    image: Tensor,
    weight: Tensor,
    strides: Sequence[int],
    paddings: Sequence[int],
    dilations: Sequence[int],
    is_transposed: bool,
    added: Sequence[int],
    groups: int,
) -> list[int]:
    """Return the shape of the result of a convolution, whose arguments are those of `aten::convolution`."""
    shape = [image.shape[0], groups * weight.shape[1] if is_transposed else weight.shape[0]]
    sizes = zip(image.shape[2:], weight.shape[2:], strides, paddings, dilations, added, strict=True)
    for n, side, stride, padding, dilation, extra in sizes:
        reach = dilation * (side - 1)
        shape.append(
            (n - 1) * stride - 2 * padding + reach + extra + 1
            if is_transposed
            else (n + 2 * padding - reach - 1) // stride + 1
        )
    return shape
