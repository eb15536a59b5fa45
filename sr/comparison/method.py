"""The options that define a method: what has to be equal, but for the seed, for two runs to be of one group."""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from sr.config.diff import is_under
from sr.record.hyperparameters import select_hyperparameters
from sr.track.run_address import is_address

BEST_CHECKPOINT = "best.ckpt"
# Options that may differ between two runs of one group. Those of files, of the tracker and of resuming are left out by
# `select_hyperparameters` already.
NOT_COMPARED = {
    "seed": "it is what the runs of a group differ in",
    "experiment": "the name of options that are compared one by one",
    "sweep": "how the options were chosen, not what they are",
    "progress": "what the terminal shows",
    "data.workers": "processes that load images, which get the same random numbers",
    "data.test": "what was tested is in the results, and each set has a table of its own",
    "metric.also": "what was measured besides; it is in the results",
    "model.alarm": "reports, and changes nothing",
    "cost": "what was measured besides",
    "perf": "how options of the trainer were chosen",
    "trainer.accelerator": "where it was computed, like the machine",
    "trainer.channels_last": "results differ by rounding alone, as on another machine",
    "trainer.compile": "the same",
}
_EVALUATION_OPTIONS = ("ensemble", "tile", "alpha")  # of `sr.evaluate`, that change the numbers of a net


def list_method_options(config: Mapping[str, Any], choices: Mapping[str, str]) -> dict[str, str]:
    """Return the options of a training that define its method: `{"model.net": "espcn", "model.net.width": "64"}`.

    `choices` are those of the config groups, by the option that holds them.
    """
    options = select_hyperparameters(config, choices, (), "all")
    return {key: value for key, value in options.items() if not is_under(key, NOT_COMPARED)}


def list_evaluation_options(config: Mapping[str, Any], checkpoint: str | None) -> dict[str, str]:
    """Return the options of an evaluation that change the numbers of a net, as far as they are not the usual ones.

    `checkpoint` is the file that was evaluated; the usual one is the best checkpoint of its run, as every address of MLflow is.
    """
    options = {key: str(config[key]) for key in _EVALUATION_OPTIONS if config.get(key) not in (None, False)}
    if config.get("interpolate") is not None:
        options["interpolate"] = str(config["interpolate"])
    if checkpoint and not is_address(checkpoint) and PurePath(checkpoint).name != BEST_CHECKPOINT:
        options["checkpoint"] = PurePath(checkpoint).name
    return options
