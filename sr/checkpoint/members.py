"""`uncertainty=…`: the further networks whose results are compared with those of the checkpoint."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sr.runtime.error import UserError

if TYPE_CHECKING:
    from torch import nn

    from sr.checkpoint.load import LoadedNet

OPTION = "uncertainty"
Uncertainty = bool | str | Sequence[str]  # the values of the option


def list_members(option: Uncertainty) -> list[str]:
    """Return the checkpoints that the option names; none if it is true or false. It imports no torch."""
    if isinstance(option, bool):
        return []
    members = [option] if isinstance(option, str) else list(option)
    if not members or len(set(members)) < len(members):
        raise UserError(
            f"{OPTION}=[{','.join(members)}]: expected true, or different checkpoints: {OPTION}=[b.ckpt,c.ckpt]"
        )
    return members


def load_members(
    option: Uncertainty,
    first: "LoadedNet",
    trust: Sequence[str] = (),
    net: dict[str, Any] | None = None,
    find: Callable[[str], str | Path] = lambda name: name,
) -> "list[nn.Module]":
    """Return the nets of the checkpoints that the option names, on the device of the first, which is not among them.

    `net` is that of `load_checkpoint`, and `find` returns the file of a name. Raises `UserError` if a net is not for the scale
    and the color of the first, or has the same weights.
    """
    from sr.checkpoint.load import load_checkpoint, rename_option

    nets, digests = [], {first.sha256: "the checkpoint"}
    for name in list_members(option):
        with rename_option(OPTION, name):
            loaded = load_checkpoint(find(name), first.device, trust, first.scale, net)
        if loaded.color != first.color:
            raise UserError(
                f"{OPTION}={name}: expected color={first.color}, as the checkpoint has (found {loaded.color})"
            )
        if loaded.sha256 in digests:
            raise UserError(f"{OPTION}={name}: it has the weights of {digests[loaded.sha256]}; name another checkpoint")
        digests[loaded.sha256] = name
        nets.append(loaded.net)
    return nets
