"""Bare weights with the config of their net: `.safetensors` that sr wrote, and `.param` of ncnn."""

import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch

from sr.pretrained.download import compute_sha256
from sr.pretrained.ncnn import read_ncnn_config
from sr.pretrained.state_dict import State
from sr.runtime.error import UserError

KEY = "sr"  # of the metadata of .safetensors


def write_weights(path: Path, state: State, config: dict[str, Any]) -> None:
    """Write weights as `.safetensors`, with `config` of their net: scale, color, channels and model.net with its `_target_`."""
    parts = {"scale": config["scale"], "color": config["color"], "model": {"net": config["model"]["net"]}}
    if "channels" in config:  # which color=bands does not say
        parts["channels"] = config["channels"]
    safetensors.torch.save_file(
        {name: value.contiguous() for name, value in state.items()}, path, {KEY: json.dumps(parts)}
    )


def read_config(path: Path) -> dict[str, Any] | None:
    """Return scale, color and model.net as a readable file of weights states them; None if it states none."""
    if path.suffix == ".param":
        return read_ncnn_config(path)
    if path.suffix != ".safetensors":
        return None
    with safetensors.safe_open(path, "pt") as file:
        text = (file.metadata() or {}).get(KEY)
    try:
        config = json.loads(text or "null")
    except ValueError:
        config = text
    if not isinstance(config, dict | None):
        raise UserError(f"checkpoint={path}: expected the config of a net as JSON in its metadata {KEY}")
    return config


def list_weight_files(path: Path) -> list[Path]:
    """Return the files that a checkpoint consists of, last the one that holds the weights: the `.bin` of a `.param`."""
    return [path, path.with_suffix(".bin")] if path.suffix == ".param" else [path]


def compute_weights_sha256(path: Path) -> str:
    """Return the SHA-256 of the file that holds the weights."""
    return compute_sha256(list_weight_files(path)[-1])
