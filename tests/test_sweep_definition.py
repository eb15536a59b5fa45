"""What must stay equal in one sweep, and the commits that its trials run on."""

from pathlib import Path
from typing import Any

import optuna
import pytest

from sr.runtime.error import UserError
from sr.sweep.definition import Configs, make_definition
from sr.sweep.space import Space, Values, split_overrides
from sr.sweep.study import COMMITS, Study
from sr.sweep.table import trials_to_csv

NO_PRUNER = {"_target_": "optuna.pruners.NopPruner"}
GRID = {"sampler": None, "pruner": NO_PRUNER, "trials": 20}
PSNR = {"psnr": "maximize"}
SEEDS: Space = {"seed": Values(("0", "1"))}


def make_configs(**net: int) -> Configs:
    """Return the configs of two trials, `seed=0,1`, with these options of the net."""
    parts = {"model": {"net": {"_target_": "mine.Net", **net}}, "paths": {"runs": "/a"}, "progress": True}
    return {(f"seed={seed}",): {"seed": seed, **parts} for seed in (0, 1)}


def test_the_name_follows_from_the_words() -> None:
    _, space = split_overrides(["model/net=a,b", "seed=0,1"], is_grid=True)
    name = make_definition(["scale=2", "paths.runs=/a"], space, GRID, PSNR, make_configs(width=8)).derive_name()
    assert name.startswith("net-seed-")
    assert make_definition(["paths.runs=/b", "progress=false", "scale=2"], space, GRID, PSNR).derive_name() == name
    assert make_definition(["scale=3"], space, GRID, PSNR).derive_name() != name


@pytest.mark.parametrize(
    ("space", "objective", "change"),
    [
        ({"seed": Values(("0", "1", "2"))}, PSNR, "space.seed 0,1 -> 0,1,2"),
        (SEEDS | {"scale": Values(("2", "3"))}, PSNR, "space.scale (none) -> 2,3"),
        (SEEDS, {"psnr": "maximize", "seconds": "minimize"}, "objective.seconds (none) -> minimize"),
        (SEEDS, {"psnr": "minimize"}, "objective.psnr maximize -> minimize"),
    ],
)
def test_another_definition_of_the_same_name_is_refused(
    tmp_path: Path, space: Space, objective: dict[str, str], change: str
) -> None:
    make_definition(["scale=2"], SEEDS, GRID, PSNR).store(tmp_path)
    make_definition(["scale=2", "paths.runs=/b"], SEEDS, GRID, PSNR).store(tmp_path)
    with pytest.raises(UserError, match=r"another sweep\.name") as refusal:
        make_definition(["scale=2"], space, GRID, objective).store(tmp_path)
    assert change in str(refusal.value)


def test_the_same_words_with_a_changed_yaml_are_refused(tmp_path: Path) -> None:
    """As after a change of conf/experiment/*.yaml, or of a file of --config-dir."""
    make_definition([], SEEDS, GRID, PSNR, make_configs(width=8)).store(tmp_path)
    make_definition([], SEEDS, GRID, PSNR, make_configs(width=8)).store(tmp_path)
    make_definition([], SEEDS, GRID, PSNR, make_configs(width=8, new_option=1)).store(tmp_path)  # a newer version of sr
    with pytest.raises(UserError, match=r"\(model\.net\.width 8 -> 16\); .* restore the YAML"):
        make_definition([], SEEDS, GRID, PSNR, make_configs(width=16)).store(tmp_path)


def test_a_changed_yaml_of_a_later_value_is_refused(tmp_path: Path) -> None:
    """The first trial is as before, but the net of the second one is not."""
    space: Space = {"model/net": Values(("a", "b"))}

    def store(depth: int) -> None:
        nets = {"a": {"_target_": "A"}, "b": {"_target_": "B", "depth": depth}}
        configs: dict[tuple[str, ...], dict[str, Any]] = {
            (f"model/net={name}",): {"model": {"net": net}} for name, net in nets.items()
        }
        make_definition([], space, GRID, PSNR, configs).store(tmp_path)

    store(depth=4)
    store(depth=4)
    with pytest.raises(UserError, match=r"model/net=b\.model\.net\.depth 4 -> 5"):
        store(depth=5)


def test_each_trial_has_the_commits_that_it_ran_on(tmp_path: Path) -> None:
    def open_study(commit: str | None) -> Study:
        return Study(tmp_path, {"x": Values(("1", "2", "3"))}, GRID, ["maximize"], seed=0, commit=commit)

    study = open_study("aaaa")
    study.record_success(study.start_trial().number, [1.0])
    study.start_trial()  # and interrupted
    assert study.commits == ["aaaa"]
    study = open_study("bbbb")
    assert study.commits == ["aaaa", "bbbb"]
    (resumed,) = study.list_unfinished()
    study.record_success(resumed.number, [2.0])
    study.record_success(study.start_trial().number, [3.0])
    assert [trial.user_attrs[COMMITS] for trial in study.trials] == [["aaaa"], ["aaaa", "bbbb"], ["bbbb"]]
    rows = trials_to_csv(study.trials, ["psnr"], ["x"]).splitlines()
    assert rows[2] == "1,2,2.0,,complete,,,,aaaa bbbb,,3"
    assert open_study("bbbb").commits == ["aaaa", "bbbb"]
    assert open_study(None).commits == ["aaaa", "bbbb"]  # an installed package has no commit
    optuna.logging.set_verbosity(optuna.logging.INFO)
