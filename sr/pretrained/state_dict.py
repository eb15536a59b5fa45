"""Read weight files of any origin: nothing in them is executed; their state dict is unwrapped and compared with a net."""

import pickle
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from sr.pretrained.archive import find_defect
from sr.pretrained.ncnn import read_ncnn_weights
from sr.runtime.error import UserError

State = dict[str, Tensor]
WRAPPERS = (
    "params_ema",
    "params",
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "generator",
)  # the preferred one first
PREFIXES = ("module.", "_orig_mod.")
DAMAGED = "not a file of weights, or a damaged one; expected .ckpt, .pth, .safetensors, .npz or .param"
MAX_KEYS = 4  # of each kind in a message


def read_weights(path: Path) -> dict[str, Any]:
    """Return the content of a `.safetensors`, `.npz` or `.param`, or of `torch.save`: only data, no code (`weights_only`)."""
    try:
        content = decode_file(path)
    except FileNotFoundError:
        raise UserError(f"checkpoint={path}: there is no such file") from None
    except UserError as error:
        raise UserError(f"checkpoint={path}: {error}") from None
    except pickle.UnpicklingError as error:
        raise UserError(f"checkpoint={path}: {_explain_pickle_error(path, error)}") from None
    except OSError as error:
        raise UserError(f"checkpoint={path}: cannot be read ({error.strerror or error})") from None
    except Exception as error:  # these readers raise anything if bytes are damaged
        raise UserError(f"checkpoint={path}: {DAMAGED} ({type(error).__name__})") from None
    if not isinstance(content, dict):
        raise UserError(f"checkpoint={path}: expected a dict of weights, found {type(content).__name__}")
    return content


def decode_file(path: Path) -> Any:
    """Return the content of a weight file. Raise a `UserError` that does not name it if it must not be decoded."""
    if path.exists() and not path.is_file():  # opening a named pipe would wait for ever
        raise UserError(f"expected a file of weights (found a {'folder' if path.is_dir() else 'pipe or a device'})")
    defect = find_defect(path)
    if defect:
        raise UserError(f"{DAMAGED} ({defect}); copy or download it again")
    if path.suffix == ".safetensors":
        return safetensors.torch.load_file(path)
    if path.suffix == ".param":
        return read_ncnn_weights(path)
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            return {key: torch.from_numpy(file[key]) for key in file.files}
    return torch.load(path, map_location="cpu", weights_only=True)


def _explain_pickle_error(path: Path, error: pickle.UnpicklingError) -> str:
    """Return a message without the advice of PyTorch's own, which is to load the file nevertheless."""
    with path.open("rb") as file:
        start = file.read(2)
    if start != b"PK" and not start.startswith(b"\x80"):  # neither torch.save's archive nor a pickle
        return DAMAGED
    match = re.search(r"GLOBAL ([\w.]+)", str(error))
    return (
        f"it holds more than weights ({match[1] if match else 'a pickled object'}), and loading that could run any "
        f"code, so it was not loaded. Ask its author for the bare state dict, or for .safetensors"
    )


def unwrap_state_dict(content: dict[str, Any]) -> State:
    """Return the state dict inside the usual wrappers (`params_ema`, `params`, `state_dict` …), without `module.`."""
    for _ in WRAPPERS:  # not deeper: a file may contain itself
        content = next((content[key] for key in WRAPPERS if isinstance(content.get(key), dict)), content)
    state = _select_tensors(content)
    inner = [part for part in content.values() if isinstance(part, dict) and _select_tensors(part)]
    if not state and len(inner) == 1:  # under any other name, such as net_g
        state = _select_tensors(inner[0])
    for prefix in PREFIXES:
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _select_tensors(content: dict[Any, Any]) -> State:
    return {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}


def strip_prefix(state: State, words: int = 1) -> State:
    """Return the state dict without the first words of its names if all share them, otherwise an empty one."""
    starts = {tuple(key.split(".")[:words]) for key in state}
    if len(starts) != 1 or any(key.count(".") <= words for key in state):
        return {}
    return {key.split(".", words)[words]: value for key, value in state.items()}


class Misfit(NamedTuple):
    """The differences between a state dict and that of a net; falsy if there are none."""

    missing: list[str]
    unexpected: list[str]
    wrong: list[str]  # "key (32, 3, 3, 3), expected (64, 3, 3, 3)", or "key of int8, expected float32"

    def __bool__(self) -> bool:
        return any(self)

    def __str__(self) -> str:
        kinds = (
            ("missing", self.missing),
            ("unexpected", self.unexpected),
            ("of another shape or type", self.wrong),
        )
        return "; ".join(f"{len(keys)} {name}: {_shorten(keys)}" for name, keys in kinds if keys)


def _shorten(keys: list[str]) -> str:
    return ", ".join(keys[:MAX_KEYS]) + (", …" if len(keys) > MAX_KEYS else "")


def find_misfit(net: nn.Module, state: State) -> Misfit:
    """Compare names, shapes and kinds of number with those of `net`, which may be on the meta device."""
    expected = net.state_dict()
    differences = {key: _compare_tensors(state[key], value) for key, value in expected.items() if key in state}
    return Misfit(
        missing=[key for key in expected if key not in state],
        unexpected=[key for key in state if key not in expected],
        wrong=[f"{key} {difference}" for key, difference in differences.items() if difference],
    )


def _compare_tensors(found: Tensor, expected: Tensor) -> str | None:
    """Return the difference of a tensor to that of a net, into which PyTorch would convert any number; None if it fits."""
    if isinstance(found, nn.parameter.UninitializedTensorMixin) or found.is_meta:
        return f"without values, expected {tuple(expected.shape)}"
    if found.shape != expected.shape:
        return f"{tuple(found.shape)}, expected {tuple(expected.shape)}"
    is_same_kind = found.is_floating_point() == expected.is_floating_point() and not found.is_complex()
    if found.layout != torch.strided or found.is_quantized or not is_same_kind:
        kind = str(found.dtype if found.layout == torch.strided else found.layout).removeprefix("torch.")
        return f"of {kind}, expected {str(expected.dtype).removeprefix('torch.')}"
    return None


def translate_names(net: nn.Module | type[nn.Module], state: State) -> State:
    """Return a state dict in the names and value range of the net, translated by its `from_published` if it has one."""
    return net.from_published(state) if hasattr(net, "from_published") else state
