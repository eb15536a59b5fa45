"""Count a net's multiply-adds from shapes alone, by PyTorch's own formulas, without importing torch._dynamo.

PyTorch's `FlopCounterMode` imports it, as the shapes of elementwise operations do on the meta device: more than a second.
"""

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

OUTPUT_SIZE = (720, 1280)  # height and width of the output for which the papers count multiply-adds
ELEMENTWISE = frozenset(
    "add sub mul div neg relu _prelu_kernel leaky_relu sigmoid tanh silu gelu hardtanh clamp clamp_min exp sqrt".split()
)  # operations whose result has the shape that their arguments are broadcast to


def count_multiply_adds(
    net: nn.Module, channels: int, scale: int, lr_size: tuple[int, int] | None = None
) -> int | None:
    """Return the multiply-adds of convolutions, linear layers and matrix products for one 1280×720 *output*.

    This is what the tables report since CARN (2018); `lr_size` is the height and width of another LR image instead. Only
    shapes are computed, on the meta device; None for a net that cannot run there.
    """
    height, width = lr_size or (math.ceil(n / scale) for n in OUTPUT_SIZE)
    lr = torch.empty(1, channels, height, width, device="meta")
    counter = _Counter()
    try:
        meta_net = copy.deepcopy(net).to("meta")
        with torch.no_grad(), torch.device("meta"), counter:  # masks that forward creates are meta tensors as well
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
        if formula is not None and result.is_meta:  # not of a table that forward computes once, on the CPU
            self.operations += formula(*args, **kwargs, out_val=result)
        return result


def _infer(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    """Return the result of a simple operation on float32, as a meta tensor; None: PyTorch has to infer it."""
    name = function.overloadpacket.__name__
    values = args[0] if name == "cat" else (*args, *kwargs.values())
    tensors = [value for value in values if isinstance(value, Tensor)]
    if not tensors or any(x.dtype != torch.float32 or not x.is_meta for x in tensors):
        return None
    if name == "cat":
        shape, dim = list(tensors[0].shape), args[1] if len(args) > 1 else 0
        shape[dim] = sum(x.shape[dim] for x in tensors)
        return tensors[0].new_empty(shape)
    if name.removesuffix("_") not in ELEMENTWISE:
        return None
    if name.endswith("_"):  # in place
        return args[0]
    return tensors[0].new_empty(torch.broadcast_shapes(*(x.shape for x in tensors)))
