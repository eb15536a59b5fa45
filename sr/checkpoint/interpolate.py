"""`interpolate=FILE alpha=0.8`: interpolate the weights of two nets of the same architecture.

ESRGAN (Wang et al., 2018, https://arxiv.org/abs/1809.00219), section 3.4: the effect of a GAN on the net that it started
from can be had to any degree, without another training. It works for nets that were trained from the same weights; between
unrelated nets there is noise.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sr.runtime.error import UserError

if TYPE_CHECKING:
    from sr.checkpoint.load import LoadedNet

OPTIONS = ("checkpoint", "interpolate", "alpha")  # that name such a net


def check_options(config: dict[str, Any]) -> None:
    """Raise unless both options and a checkpoint are given, or neither option; before torch is imported."""
    other, alpha = config["interpolate"], config["alpha"]
    if alpha is not None and other is None:
        raise UserError(f"alpha={alpha}: expected the other checkpoint as well, interpolate=FILE; or leave alpha out")
    if other is None:
        return
    if config["checkpoint"] is None:
        raise UserError(f"interpolate={other}: expected the checkpoint to interpolate with as well, checkpoint=FILE")
    if alpha is None:
        raise UserError(f"interpolate={other}: expected alpha=0.8 as well, from 0 (this file) to 1 (the checkpoint)")
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 <= alpha <= 1:
        raise UserError(f"alpha={alpha}: expected a number from 0 (the net of interpolate=) to 1 (the checkpoint's)")


def describe_interpolation(config: dict[str, Any]) -> dict[str, Any]:
    """Return what to store with the results of an interpolated net; nothing for any other."""
    return {"interpolated": {option: config[option] for option in OPTIONS}} if config["interpolate"] is not None else {}


def format_label(config: dict[str, Any]) -> str:
    """Return what to add to the name of an interpolated net; nothing for any other."""
    checkpoint, other, alpha = (config[option] for option in OPTIONS)
    return f" at alpha={alpha} between interpolate={other} and checkpoint={checkpoint}" if other is not None else ""


def interpolate_weights(loaded: "LoadedNet", path: str | Path, alpha: float, **options: Any) -> "LoadedNet":
    """Set the net's weights to `θ = (1 − α)·θ_file + α·θ_loaded`; `options` are further arguments of `load_checkpoint`.

    Running means of a batch norm are interpolated as well; integers, such as its count of batches, are those of `loaded`.
    """
    import torch

    from sr.checkpoint.load import load_checkpoint, rename_option

    with rename_option("interpolate", path):
        other = load_checkpoint(path, scale=loaded.config["scale"], **options)
        _require_same_net(loaded, other, path)
    other_weights = other.net.state_dict()
    weights = {
        name: torch.lerp(other_weights[name], value, alpha) if value.is_floating_point() else value
        for name, value in loaded.net.state_dict().items()
    }
    loaded.net.load_state_dict(weights)
    return loaded._replace(metrics={}, step=0, leaks=tuple(dict.fromkeys((*loaded.leaks, *other.leaks))))


def _require_same_net(loaded: "LoadedNet", other: "LoadedNet", path: str | Path) -> None:
    """Raise unless both nets have the same color, options and shapes."""
    from sr.pretrained.state_dict import find_misfit

    color, other_color = loaded.config["color"], other.config["color"]
    if other_color != color:
        raise UserError(f"checkpoint={path} is of color={other_color}: expected color={color}, as of the checkpoint")
    node, other_node = loaded.config["model"]["net"], other.config["model"]["net"]
    shared = [key for key in node if key in other_node and key != "file"]  # an option that only one has says nothing
    differences = [f"{key}: {other_node[key]} and {node[key]}" for key in shared if node[key] != other_node[key]]
    misfit = find_misfit(loaded.net, other.net.state_dict())
    if differences or misfit:
        reason = "; ".join(differences).replace("_target_", "class") or misfit
        raise UserError(f"checkpoint={path} holds another net ({reason}): expected weights of the same net")
