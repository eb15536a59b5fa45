"""A run's dials as a tracker's parameters, and names that a tracker takes."""

import re
from typing import Any, Literal

LENGTH = 6000  # characters that MLflow takes of a parameter
HOUSEKEEPING = ("paths", "track", "stages", "metric", "channels", "save_minutes", "save_steps", "resume", "trust")
REPEATED = (
    "scale", "color", "channels", "seed", "root", "metric", "clip", "accumulate", "url", "sha256", "memory", "disk", "cache",
)  # fmt: skip
ALWAYS = (
    "scale", "seed", "data.batch", "data.patch", "model.optimizer.lr", "model.adversarial_weight", "model.warmup_steps",
    "model.ema", "trainer.max_steps", "trainer.max_epochs", "trainer.precision", "trainer.gradient_clip_val",
    "trainer.accumulate_grad_batches",
)  # fmt: skip


def select_hyperparameters(config: dict[str, Any], typed: list[str], kept: Literal["short", "all"]) -> dict[str, str]:
    """The dials to show: all of them, or what most runs differ in."""
    flat = _flat(config)
    return flat if kept == "all" else _short(flat, typed)


def _flat(node: Any, prefix: str = "") -> dict[str, str]:
    """`{"model.net.width": "64", "model.net": "EDSR"}`: every dial once.

    Left to config.yaml is what is no dial: where things lie, what is empty, what merely repeats a root dial in a part;
    and a value that MLflow cannot hold whole, which is never cut.
    """
    if not isinstance(node, dict):
        text = str(node)
        return {prefix: text if len(text) <= LENGTH else f"{len(text)} characters, see config.yaml"}
    flat: dict[str, str] = {}
    for name, part in node.items():
        if name == "_target_":
            flat[prefix] = str(part).rpartition(".")[2]
        elif not (name.startswith("_") or part is None or (name in HOUSEKEEPING if not prefix else name in REPEATED)):
            flat |= _flat(part, f"{prefix}.{name}".lstrip("."))
    return flat


def _short(flat: dict[str, str], typed: list[str]) -> dict[str, str]:
    """What most runs differ in, and whatever was typed. MLflow prints all parameters of a run above each of its
    pictures: with thirty of them, two runs no longer stand side by side."""
    keys = {word.lstrip("+~").partition("=")[0].partition("@")[0].replace("/", ".") for word in typed}
    return {k: v for k, v in flat.items() if k in keys or k in ALWAYS or k.startswith("model.net.")}


def sanitize_key(name: str) -> str:
    """A name of a metric, a parameter or an image that MLflow takes."""
    return re.sub(r"[^\w\-./ :]", "_", name, flags=re.ASCII)
