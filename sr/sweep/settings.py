"""Check the options `sweep.*` together with the search space, before a trial is composed."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sr.config.command_line import read_text
from sr.config.diff import flatten
from sr.config.value import format_value
from sr.runtime.error import UserError
from sr.sweep.space import Interval, Space, Values, count_points

MAX_GRID = 10_000  # points
MAX_NAME = 100  # characters
NAME = re.compile(rf"[\w-][\w.-]{{0,{MAX_NAME - 1}}}")
SIGNED_OPTIONS = ("lower", "upper", "x0")  # of Optuna's samplers and pruners, that may be below 0


def check_settings(settings: dict[str, Any], space: Space, typed: Sequence[str]) -> None:
    """Raise if an option `sweep.*` has no sensible value; `typed` are the overrides of the command."""
    for key in ("trials", "jobs"):
        value = settings[key]
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UserError(f"sweep.{key}={format_value(value)}: expected a whole number, 1 or more")
    name = settings["name"]
    if name is not None and not (isinstance(name, str) and NAME.fullmatch(name)):
        raise UserError(
            f"sweep.name={format_value(name)}: expected a name for a folder: up to {MAX_NAME} letters, digits and _ . - with "
            "no dot at its beginning"
        )
    if not space:
        raise UserError("-m: expected an option that varies, such as seed=0,1,2 (found none)")
    _check_resume(typed)
    if settings["sampler"] is None:
        _check_grid(space, typed)
    else:
        _check_search(settings, space)


def check_parts(settings: dict[str, Any]) -> None:
    """Raise if Optuna does not take the options of the sampler or the pruner, whose types have been checked."""
    from sr.config.build import build_part  # imports Lightning

    for key in ("sampler", "pruner"):
        for name, value in flatten(settings[key] or {}).items():
            if isinstance(value, int | float) and value < 0 and name.split(".")[0] not in SIGNED_OPTIONS:
                raise UserError(f"sweep.{key}.{name}={value}: expected a number from 0 up")
        if settings[key] is not None:
            build_part(settings[key], f"sweep.{key}")


def check_objectives(settings: dict[str, Any], objectives: Sequence[str], config: dict[str, Any]) -> None:
    """Raise if the sampler or the pruner cannot deal with these objectives, or the runs do not measure them."""
    if config["stages"] == ["test"]:
        raise UserError(
            "stages=[test]: a sweep compares what it has trained; test one net after the other with sr.evaluate, or leave "
            "stages out"
        )
    several = f"sweep.objective=[{','.join(objectives)}]"
    if len(objectives) > 1 and not _has_name(settings["pruner"], "NopPruner"):
        raise UserError(
            f"sweep/pruner: trials are pruned by one objective only ({several}); leave it out, or give one sweep.objective"
        )
    if len(objectives) > 1 and _has_name(settings["sampler"], "CmaEsSampler"):
        raise UserError(f"{several}: sweep=cmaes has one objective; type sweep=nsga2 or sweep=tpe for several")
    timed = next((name for name in ("ms_per_image", "ntire_score") if name in objectives), None)
    if timed and settings["jobs"] > 1 and _has_name(settings["pool"], "ProcessPool"):
        raise UserError(
            f"sweep.jobs={settings['jobs']}: expected 1 with the objective {timed}: a trial that trains on this "
            "machine would slow down the one that is timed"
        )


def list_random_options(settings: dict[str, Any], space: Space) -> list[str]:
    """Return the options whose values the sampler chooses at random, because it works on numbers only."""
    if not (_has_name(settings["sampler"], "CmaEsSampler") or _has_name(settings["sampler"], "QMCSampler")):
        return []
    return [key for key, dimension in space.items() if isinstance(dimension, Values)]


def _check_resume(typed: Sequence[str]) -> None:
    word = next((word for word in reversed(typed) if word.startswith("resume=")), "resume=null")
    wanted = read_text(word.partition("=")[2])
    if wanted not in ("null", "auto", "") and not Path(wanted).expanduser().is_file():
        raise UserError(
            f"{word}: a sweep makes new runs, and continues by itself when its command is typed again; leave resume out, "
            "or give a checkpoint that all of them begin with: model.init=FILE"
        )


def _check_grid(space: Space, typed: Sequence[str]) -> None:
    count = count_points(space)
    if count > MAX_GRID:
        raise UserError(
            f"-m: expected at most {MAX_GRID:,} combinations (found {count:,}); type sweep=random sweep.trials=…"
        )
    trials = next((word for word in typed if word.startswith("sweep.trials=")), None)
    if trials:
        raise UserError(
            f"{trials}: a grid has one trial for each of its {count} combinations; leave it out, or type sweep=random"
        )


def _check_search(settings: dict[str, Any], space: Space) -> None:
    count = count_points(space)
    if count is not None and settings["trials"] > count:
        raise UserError(
            f"sweep.trials={settings['trials']}: the search space has {count} points in all; type sweep=grid, or fewer trials"
        )
    intervals = [dimension for dimension in space.values() if isinstance(dimension, Interval)]
    if _has_name(settings["sampler"], "CmaEsSampler") and len(intervals) < 2:
        raise UserError(
            f"sweep=cmaes: expected two intervals or more (found {len(intervals)}); CMA-ES adapts to how numbers depend on "
            "each other: type sweep=tpe"
        )


def _has_name(node: dict[str, Any] | None, name: str) -> bool:
    return node is not None and node["_target_"].endswith(f".{name}")
