"""The state of every source of chance in this process, plain enough for a checkpoint."""

import random
from typing import Any

import numpy as np
import torch


def capture() -> dict[str, Any]:
    """Of Python, NumPy, torch, and torch on each CUDA device that this process has used."""
    kind, keys, position, has_gauss, gauss = np.random.get_state()
    found = {
        "python": random.getstate(),
        "numpy": [kind, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, gauss],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        found["cuda"] = torch.cuda.get_rng_state_all()
    return found


def restore(found: dict[str, Any]) -> None:
    """Put them back; devices that this machine lacks are left out."""
    kind, keys, *rest = found["numpy"]
    random.setstate(found["python"])
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(found["torch"].cpu())
    for device, state in enumerate(found.get("cuda", ())[: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(state.cpu(), device)
