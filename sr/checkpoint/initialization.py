"""Build a net whose weights are loaded afterwards: without the random numbers that a training would start from."""

from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

RANDOM_METHODS = (Tensor.normal_, Tensor.uniform_)  # that nets and `nn.init` fill weights with


class SkipInitialization(TorchFunctionMode):
    """Context in which weights are left uninitialized. The random state is not touched.

    On the meta device such calls would import torch._dynamo, which takes longer than an image.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Return the tensor that is to be filled as it is; call any other function."""
        kwargs = kwargs or {}
        if func in RANDOM_METHODS or getattr(func, "__module__", None) == nn.init.__name__:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)
