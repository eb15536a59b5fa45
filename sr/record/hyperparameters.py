"""Select the options of a run that a tracker shows as its hyperparameters."""

from typing import Any, Literal

# Options that are in config.yaml only: at the root, because they change no result, and in parts, because they repeat the
# root's or say where files are.
NOT_SHOWN_AT_ROOT = (
    "paths", "track", "stages", "metric", "channels", "checkpoint_minutes", "checkpoint_steps", "resume", "trust",
)  # fmt: skip
NOT_SHOWN_IN_PARTS = (
    "scale", "color", "channels", "seed", "root", "metric", "clip", "accumulate", "url", "sha256", "memory", "disk", "cache",
)  # fmt: skip
SHOWN_IN_SHORT = (
    "scale", "seed", "data.batch", "data.patch", "model.optimizer.lr", "model.adversarial_weight", "model.warmup_steps",
    "model.ema", "trainer.max_steps", "trainer.max_epochs", "trainer.precision", "trainer.gradient_clip_val",
    "trainer.accumulate_grad_batches",
)  # fmt: skip


def select_hyperparameters(
    config: dict[str, Any], overrides: list[str], selection: Literal["short", "all"]
) -> dict[str, str]:
    """Return options by dotted key, `{"model.net": "EDSR", "model.net.width": "64"}`: all, or a short selection.

    The short selection is what most runs differ in and what was typed. A tracker's page may print all parameters of a run
    above each of its images; with thirty of them, two runs no longer fit next to each other.
    """
    options = _flatten(config)
    return options if selection == "all" else _shorten(options, overrides)


def _flatten(node: Any, key: str = "") -> dict[str, str]:
    """Return every option once, without those that are empty and those that are not shown."""
    if not isinstance(node, dict):
        return {key: str(node)}
    options: dict[str, str] = {}
    hidden = NOT_SHOWN_IN_PARTS if key else NOT_SHOWN_AT_ROOT
    for name, part in node.items():
        if name == "_target_":
            options[key] = str(part).rpartition(".")[2]
        elif not (name.startswith("_") or part is None or name in hidden):
            options |= _flatten(part, f"{key}.{name}".lstrip("."))
    return options


def _shorten(options: dict[str, str], overrides: list[str]) -> dict[str, str]:
    typed = {word.lstrip("+~").partition("=")[0].partition("@")[0].replace("/", ".") for word in overrides}
    return {k: v for k, v in options.items() if k in typed or k in SHOWN_IN_SHORT or k.startswith("model.net.")}
