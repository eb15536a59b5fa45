"""Checks before a run is opened: every error in the data or the parts is raised before there is a run that it could fail."""

import sys
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from sr.data.fingerprint import SetFingerprint
from sr.data.known_leaks import find_training_leaks
from sr.data.leak import Leak
from sr.data.module import SRDataModule
from sr.lifecycle.provenance import fingerprint_data
from sr.model.gradient import list_trainable
from sr.model.module import SRModule
from sr.runtime.error import UserError

MAX_LEAKS_SHOWN = 3  # of each evaluation set


class PreparedData(NamedTuple):
    """The images of a run: what is known before it is opened."""

    leaks: list[Leak]  # training images that are in an evaluation set
    fingerprint: list[SetFingerprint]


def select_stages(config: dict[str, Any], choices: dict[str, str], net: nn.Module) -> list[str]:
    """Return the stages of `stages=` that make sense for the net; raise if it would be tested without training."""
    stages, net_name = list(config["stages"]), choices.get("model/net")
    if "fit" in stages and not list_trainable(net):
        print(f"model/net={net_name} has nothing to train, so it is only tested")
        stages.remove("fit")
        if not stages:
            raise UserError(f"stages=[fit]: model/net={net_name} has nothing to train; type stages=[test]")
    if stages == ["test"] and list_trainable(net):
        raise UserError(
            f"stages=[test]: model/net={net_name} is not trained yet; add fit, or test a trained net: "
            f"python -m sr.evaluate checkpoint=FILE"
        )
    return stages


def prepare_data(
    config: dict[str, Any],
    choices: dict[str, str],
    stages: list[str],
    data: SRDataModule,
    model: SRModule,
    is_main: bool,
) -> PreparedData:
    """Set the data up for all stages, try the model on a training batch, and look for leaks.

    Of several processes only the main one warns of leaks and computes the fingerprint; the others get an empty one.
    """
    leaks: list[Leak] = []
    data.prepare_data()
    if "fit" in stages:
        if is_main and not data.sets["val"]:
            print(
                "note: data.val=[]: nothing is validated, so there is no best checkpoint, only last.ckpt",
                file=sys.stderr,
            )
        data.setup("fit")
        if data.train_set is None:
            raise UserError(
                f"data={choices['data']}: expected data with training images; choose other data, or evaluate "
                f"model/net=bicubic"
            )
        model.dry_run(data.draw_example())
        leaks = find_training_leaks(data.train_set)
        if is_main:
            warn_of_leaks(leaks, data)
    if "test" in stages:
        data.setup("test")
    return PreparedData(leaks, fingerprint_data(config, data, model.metric) if is_main else [])


def warn_of_leaks(leaks: list[Leak], data: SRDataModule) -> None:
    """Print a warning for each evaluation set of this run that has training images in it, and a note for other sets."""
    evaluated = {Path(name).name for names in data.sets.values() for name in names}
    for name in dict.fromkeys(leak.set for leak in leaks):
        images = [str(leak) for leak in leaks if leak.set == name]
        more = f" and {len(images) - MAX_LEAKS_SHOWN} more" if len(images) > MAX_LEAKS_SHOWN else ""
        kind, advice = "note", "do not test on it later, or remove the images"
        if name in evaluated:
            kind, advice = "LEAK", "its numbers will be too good; remove the images"
        shown = ", ".join(images[:MAX_LEAKS_SHOWN])
        print(f"{kind}: training images are in {name} ({shown}{more}); {advice}", file=sys.stderr)
