"""A network in ONNX, executed by OpenVINO (https://docs.openvino.ai) on the CPU."""

from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from sr.net.onnx import from_array, to_array
from sr.runtime.error import UserError


class OpenVinoNet(nn.Module):
    """Upscales float `[B, C, h, w]` in 0…1 with a graph of ONNX; `like` has its properties: its net in PyTorch, or `OnnxNet`.

    OpenVINO computes in bfloat16 by default where the processor can: `is_bf16` says whether it may.
    """

    def __init__(self, file: Path, like: nn.Module, is_bf16: bool = False) -> None:
        super().__init__()
        self.file, self.is_bf16 = file.absolute(), is_bf16
        self.scale, self.channels = like.scale, like.channels
        self.receptive_field = getattr(like, "receptive_field", None)
        self.depends_on_size = getattr(like, "depends_on_size", False)
        self._compiled = self._compile()

    def forward(self, lr: Tensor) -> Tensor:
        dtype = self._compiled.input(0).element_type.to_dtype()
        image = to_array(lr, dtype)
        try:
            result = self._compiled(image)[0]
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"backend=openvino: cannot upscale images {tuple(lr.shape)} ({reason})") from None
        return from_array(result, dtype, lr)

    def extra_repr(self) -> str:
        """Return what a result depends on, apart from the file."""
        return f"is_bf16={self.is_bf16}"

    def __getstate__(self) -> dict[str, Any]:
        """Leave the compiled graph out, which cannot be copied: another process compiles it with its number of threads."""
        return {key: value for key, value in self.__dict__.items() if key != "_compiled"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._compiled = self._compile()

    def _compile(self) -> Any:
        precision = "bf16" if self.is_bf16 else "f32"
        options = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": torch.get_num_threads()}
        return import_openvino().Core().compile_model(str(self.file), "CPU", options)


def import_openvino() -> ModuleType:
    """Return the package openvino, or raise with the extra that has it."""
    try:
        import openvino
    except ImportError as error:
        raise UserError(f"backend=openvino: needs openvino ({error}): pip install 'sr[openvino]'") from None
    return openvino
