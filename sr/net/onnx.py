"""A network in ONNX, executed by onnxruntime (https://onnxruntime.ai): one of sr.export, or of another program.

It takes and returns images: of a net for luma the graph itself converts colors (`sr.checkpoint.graph`).
"""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from sr.runtime.error import UserError

KEY = "sr"  # of the metadata of a file that sr.export wrote
PROBE = (32, 48)  # LR rows and columns, for a file that does not state its scale
DTYPES = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8, "tensor(float16)": np.float16}


class OnnxNet(nn.Module):
    """Upscales float `[B, C, h, w]` in 0…1; a graph of uint8 gets and returns levels."""

    def __init__(self, file: str | Path) -> None:
        super().__init__()
        self.file = Path(file)
        self.session = _open_session(self.file)
        (first, *others), outputs = self.session.get_inputs(), self.session.get_outputs()
        if others or len(outputs) != 1 or len(first.shape) != 4 or first.type not in DTYPES:
            raise UserError(
                f"checkpoint={file}: expected a graph from one batch of images [B, C, h, w] to another "
                f"(found the inputs {[entry.name for entry in (first, *others)]}, {first.type} {first.shape})"
            )
        self._input, self._dtype = first.name, DTYPES[first.type]
        about = self._read_metadata()
        self.channels = about.get("channels") or (first.shape[1] if isinstance(first.shape[1], int) else 3)
        self.scale = about.get("scale") or self._measure_scale()
        self.receptive_field = about.get("receptive_field")
        self.depends_on_size = bool(about.get("depends_on_size"))
        self.architecture = about.get("net", "").rpartition(".")[2] or self.file.stem

    def __reduce__(self) -> tuple[Any, ...]:
        """Let another process open the file itself, with its number of threads: a session cannot be copied."""
        return OnnxNet, (self.file.absolute(),)

    def forward(self, lr: Tensor) -> Tensor:
        image = to_array(lr, self._dtype)
        try:
            (sr,) = self.session.run(None, {self._input: image})
        except Exception as error:  # onnxruntime's errors have no base class of their own
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"checkpoint={self.file}: onnxruntime cannot upscale images {tuple(lr.shape)} ({reason}); is the graph "
                "for one size only?"
            ) from None
        return from_array(sr, self._dtype, lr)

    def _read_metadata(self) -> dict[str, Any]:
        """Return what sr.export wrote into the file; an empty dictionary for a file of another program."""
        text = self.session.get_modelmeta().custom_metadata_map.get(KEY, "{}")
        try:
            about = json.loads(text)
            scale, channels, field = about.get("scale", 1), about.get("channels", 3), about.get("receptive_field")
            is_right = all(isinstance(n, int) and n > 0 for n in (scale, channels, field or 1))
        except (ValueError, AttributeError):
            is_right = False
        if not is_right:
            raise UserError(f"checkpoint={self.file}: its metadata {KEY} is not of sr.export (found {text[:80]!r})")
        return about

    def _measure_scale(self) -> int:
        """Return the factor by which the graph upscales an image."""
        self.scale = 1
        h, w = PROBE
        size = self.forward(torch.zeros(1, self.channels, h, w)).shape[2:]
        if size[0] % h or size[0] // h != size[1] / w:
            raise UserError(f"checkpoint={self.file}: expected a whole factor (found {w}×{h} to {size[1]}×{size[0]})")
        return size[0] // h


def to_array(lr: Tensor, dtype: npt.DTypeLike) -> np.ndarray:
    """Return float images in 0…1 as a graph of this dtype takes them: as levels if it is uint8."""
    image = (lr * 255 + 0.5).clamp(0, 255) if dtype == np.uint8 else lr
    return np.ascontiguousarray(image.detach().cpu().numpy().astype(dtype))


def from_array(sr: np.ndarray, dtype: npt.DTypeLike, lr: Tensor) -> Tensor:
    """Return the output of a graph of this dtype as float images in 0…1, of the device and dtype of `lr`."""
    return torch.from_numpy(sr).to(lr.device, lr.dtype) / (255 if dtype == np.uint8 else 1)


def _open_session(file: Path) -> Any:
    """Return onnxruntime's session, with as many threads as PyTorch has."""
    onnxruntime = import_onnxruntime()
    if not file.is_file():
        raise UserError(f"checkpoint={file}: there is no such file")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # its errors are raised as well
    try:
        return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no base class of their own
        raise UserError(
            f"checkpoint={file}: onnxruntime cannot read it ({' '.join(str(error).split())[:200]})"
        ) from None


def import_onnxruntime() -> ModuleType:
    """Return the package onnxruntime, or raise with the extra that has it."""
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(f"ONNX: needs onnxruntime ({error}): pip install 'sr[onnx]'") from None
    return onnxruntime
