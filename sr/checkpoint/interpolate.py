"""`interpolate=FILE alpha=0.8`: a net between two of the same kind, weight by weight.

ESRGAN (Wang et al., 2018, https://arxiv.org/abs/1809.00219), section 3.4: what a GAN adds to the net that it began with
can be had in any measure, without another training. It works for nets of one descent; between strangers there is noise.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sr.runtime.error import UserError

if TYPE_CHECKING:
    from sr.checkpoint.load import LoadedNet

OPTIONS = ("checkpoint", "interpolate", "alpha")  # what names such a net


def check_options(config: dict[str, Any]) -> None:
    """Raise unless there are both dials and a checkpoint, or neither; before torch is imported."""
    other, alpha = config["interpolate"], config["alpha"]
    if alpha is not None and other is None:
        raise UserError(f"alpha={alpha}: between the checkpoint and what? interpolate=FILE, or leave alpha out")
    if other is None:
        return
    if config["checkpoint"] is None:
        raise UserError(f"interpolate={other}: goes from this file to a checkpoint: checkpoint=FILE")
    if alpha is None:
        raise UserError(f"interpolate={other}: how far? alpha=0.8, from 0 (this file) to 1 (the checkpoint)")
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 <= alpha <= 1:
        raise UserError(f"alpha={alpha}: expected a number from 0 (the net of interpolate=) to 1 (the checkpoint's)")


def describe_interpolation(config: dict[str, Any]) -> dict[str, Any]:
    """What to write beside the results of an interpolated net; of any other, nothing."""
    return {"interpolated": {dial: config[dial] for dial in OPTIONS}} if config["interpolate"] is not None else {}


def format_label(config: dict[str, Any]) -> str:
    """What to add to the name of an interpolated net; to any other's, nothing."""
    checkpoint, other, alpha = (config[dial] for dial in OPTIONS)
    return f" at alpha={alpha} between interpolate={other} and checkpoint={checkpoint}" if other is not None else ""


def interpolate_weights(loaded: "LoadedNet", path: Path, alpha: float, **how: Any) -> "LoadedNet":
    """`θ = (1 − α)·θ_file + α·θ_loaded`, in the net of `loaded`; `how` is what `checkpoint.load` takes besides.

    Running means of a batch norm are interpolated as well; whole numbers, such as its count of batches, are `loaded`'s.
    """
    import torch

    from sr.checkpoint import load as checkpoint

    with checkpoint.rename_option("interpolate", path):
        other = checkpoint.load_checkpoint(path, scale=loaded.config["scale"], **how)
        _need_same_kind(loaded, other, path)
    theirs = other.net.state_dict()
    mixed = {
        name: torch.lerp(theirs[name], value, alpha) if value.is_floating_point() else value
        for name, value in loaded.net.state_dict().items()
    }
    loaded.net.load_state_dict(mixed)
    return loaded._replace(metrics={}, step=0, leaks=tuple(dict.fromkeys((*loaded.leaks, *other.leaks))))


def _need_same_kind(loaded: "LoadedNet", other: "LoadedNet", path: Path) -> None:
    from sr.pretrained.state_dict import find_misfit

    if other.config["color"] != loaded.config["color"]:
        colors = f"color={other.config['color']}, what it is to be mixed with of color={loaded.config['color']}"
        raise UserError(f"checkpoint={path} is of {colors}")
    here, there = loaded.config["model"]["net"], other.config["model"]["net"]
    both = [key for key in here if key in there and key != "file"]  # a dial that one of them did not have has no say
    changed = [f"{key}: {there[key]} and {here[key]}" for key in both if here[key] != there[key]]
    wrong = find_misfit(loaded.net, other.net.state_dict())
    if changed or wrong:
        how = "; ".join(changed).replace("_target_", "class") or wrong
        raise UserError(f"checkpoint={path} holds another net ({how}): only weights of the same one can be mixed")
