"""Old names of options, choices and classes: they are answered with the new ones, stored configs are translated."""

import copy
import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from sr.config import renamed
from sr.config.cli import find_conf_dir
from sr.config.renamed import find_new_name, find_old_names, update_config, update_override

OPTIONS = {
    "model.net.tall": "model.net.depth",
    "steps_max": "trainer.max_steps",
    "model.penalty.*.every": "model.penalty.*.interval",
    "old_group": "new_group",
    "data.*.ops.*.p": "data.*.ops.*.probability",
}


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of its own, whatever has been renamed in the real one."""
    monkeypatch.setattr(renamed, "OPTIONS", OPTIONS)
    monkeypatch.setattr(
        renamed, "CHOICES", {"model/net=flat": "model/net=plain", "model/alarm=won": "model/alarm=d_wins"}
    )
    monkeypatch.setattr(renamed, "TARGETS", {"sr.net.old.Old": "sr.net.plain.Plain"})


@pytest.mark.parametrize(
    ("key", "new"),
    [
        ("model.net.tall", "model.net.depth"),
        ("steps_max", "trainer.max_steps"),
        ("model.penalty.r1.every", "model.penalty.r1.interval"),
        ("model.penalty.my_own.every", "model.penalty.my_own.interval"),
        ("data.degrade.ops.blur.p", "data.degrade.ops.blur.probability"),
        ("old_group.a.b", "new_group.a.b"),
        ("model.net.depth", None),
        ("model.net.taller", None),
        ("my.model.net.tall", None),
        ("model.penalty.every", None),
        ("model.penalty.r1.deep.every", None),
        ("model.penalty[0].every", None),
        ("modelXnet.tall", None),
        ("", None),
    ],
)
@pytest.mark.usefixtures("table")
def test_find_new_name(key: str, new: str | None) -> None:
    assert find_new_name(key) == new


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"model": {"net": {"tall": 3, "width": 4}}}, {"model": {"net": {"depth": 3, "width": 4}}}),
        ({"steps_max": 5}, {"trainer": {"max_steps": 5}}),
        ({"steps_max": 5, "trainer": {"devices": 1}}, {"trainer": {"devices": 1, "max_steps": 5}}),
        (
            {"model": {"penalty": {"r1": {"every": 4}, "gradient": {"every": 8}}}},
            {"model": {"penalty": {"r1": {"interval": 4}, "gradient": {"interval": 8}}}},
        ),
        ({"old_group": {"a": {"b": 1}, "c": None}}, {"new_group": {"a": {"b": 1}, "c": None}}),
        ({"old_group": {}}, {"new_group": {}}),
        ({"old_group": [1, {"x": 2}]}, {"new_group": [1, {"x": 2}]}),
        # A value under the present name wins, in whatever order they stand.
        ({"steps_max": 5, "trainer": {"max_steps": 7}}, {"trainer": {"max_steps": 7}}),
        ({"trainer": {"max_steps": None}, "steps_max": 5}, {"trainer": {"max_steps": None}}),
        ({"old_group": {"a": 1, "b": 2}, "new_group": {"b": 3}}, {"new_group": {"b": 3, "a": 1}}),
        # Class paths, at any depth and in lists.
        ({"net": {"_target_": "sr.net.old.Old"}}, {"net": {"_target_": "sr.net.plain.Plain"}}),
        ({"parts": [{"_target_": "sr.net.old.Old"}]}, {"parts": [{"_target_": "sr.net.plain.Plain"}]}),
        ({"name": "sr.net.old.Old"}, {"name": "sr.net.old.Old"}),
        # The options of a user's own part are not renamed, those of sr's parts below it are.
        (
            {"model": {"net": {"_target_": "mine.Net", "tall": 3}}},
            {"model": {"net": {"_target_": "mine.Net", "tall": 3}}},
        ),
        (
            {"model": {"_target_": "mine.GAN", "net": {"_target_": "sr.net.plain.Plain", "tall": 3}}},
            {"model": {"_target_": "mine.GAN", "net": {"_target_": "sr.net.plain.Plain", "depth": 3}}},
        ),
        ({}, {}),
    ],
)
@pytest.mark.usefixtures("table")
def test_update_config(config: dict[str, Any], expected: dict[str, Any]) -> None:
    """The translation is complete, does not touch its argument, and is a fixed point."""
    before = copy.deepcopy(config)
    assert update_config(config) == expected
    assert config == before
    assert update_config(expected) == expected
    assert not find_old_names(expected)


@pytest.mark.parametrize(
    "config",
    [
        None, 3, "watch", [], [{"steps_max": 5}],
        {"steps_max": 5, "trainer": "none"},
        {"steps_max": 5, "trainer": None},
        {"steps_max": 5, "trainer": [1]},
        {1: {2: 3}, None: 4, "": 5},
        {"a.b": {"c.d": 1}},
        {"_target_": 3, "net": {"_target_": None, "tall": 1}},
        {"parts": [[[{"_target_": ["sr.net.old.Old"]}]]]},
    ],
)  # fmt: skip
@pytest.mark.usefixtures("table")
def test_update_config_does_not_fail_on_hostile_input(config: Any) -> None:
    """Nothing that stands under a present name is changed or lost."""
    result = update_config(config)
    if isinstance(config, dict):
        assert {key: value for key, value in config.items() if key != "steps_max"}.items() <= result.items()
    else:
        assert result is config


def test_old_arguments_of_degradations_in_a_list_are_translated() -> None:
    """They are translated in nested lists as well; the present name has precedence; other classes are not touched."""
    resample, shuffle = "sr.degrade.resample.Resample", "sr.degrade.order.Shuffle"
    old = [
        {"_target_": resample, "ways": ["keep"], "of": "now", "evenly": "divisor"},
        {"_target_": shuffle, "ordered": [0], "ops": [{"_target_": resample, "of": "lr"}]},
        {"_target_": resample, "of": "now", "relative_to": "lr"},
        {"_target_": "mine.Resample", "of": "now"},
    ]
    new = [
        {"_target_": resample, "directions": ["keep"], "relative_to": "input", "uniform_in": "divisor"},
        {"_target_": shuffle, "fixed_order": [0], "ops": [{"_target_": resample, "relative_to": "lr"}]},
        {"_target_": resample, "relative_to": "lr"},
        {"_target_": "mine.Resample", "of": "now"},
    ]
    assert update_config({"data": {"degrade": {"ops": old}}}) == {"data": {"degrade": {"ops": new}}}
    assert not find_old_names({"data": {"degrade": {"ops": new}}})
    assert find_old_names({"data": {"degrade": {"ops": old[1:2]}}}) == {
        "data.degrade.ops[0].ordered": "data.degrade.ops[0].fixed_order",
        "data.degrade.ops[0].ops[0].of": "data.degrade.ops[0].ops[0].relative_to",
    }


@pytest.mark.usefixtures("table")
def test_find_old_names() -> None:
    config = {"steps_max": 1, "model": {"penalty": {"r1": {"every": 2}}, "net": {"_target_": "mine.Net", "tall": 3}}}
    assert find_old_names(config) == {
        "steps_max": "trainer.max_steps",
        "model.penalty.r1.every": "model.penalty.r1.interval",
    }


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("steps_max=5", "trainer.max_steps=5"),
        ("+model.net.tall=5", "+model.net.depth=5"),
        ("++model.net.tall=5", "++model.net.depth=5"),
        ("~model.net.tall", "~model.net.depth"),
        ("old_group.a='x y=z'", "new_group.a='x y=z'"),
        ("model.penalty.r1.every=1,2", "model.penalty.r1.interval=1,2"),
        ("model/net=flat", "model/net=plain"),
        ("model/net=flat,edsr", "model/net=plain,edsr"),
        ("model/alarm=[won,collapse]", "model/alarm=[d_wins,collapse]"),
        ("model/net=edsr", "model/net=edsr"),
        ("model.net=flat", "model.net=flat"),
        ("seed=3", "seed=3"),
        ("paths.runs=/tmp/steps_max=5", "paths.runs=/tmp/steps_max=5"),
        ("--config-dir", "--config-dir"),
        ("", ""),
        ("=", "="),
        ("'quoted'=3", "'quoted'=3"),
    ],
)
@pytest.mark.usefixtures("table")
def test_update_override(word: str, expected: str) -> None:
    assert update_override(word) == expected


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["steps_max=5"], ["steps_max=5: this option is now called trainer.max_steps; type trainer.max_steps=5"]),
        (["+steps_max=5"], ["steps_max: this option is now called trainer.max_steps; write trainer.max_steps in your"]),
        (["~model.net.tall"], ["~model.net.tall: this option is now called model.net.depth; type ~model.net.depth"]),
        (["model/net=flat"], ["model/net=flat: this choice is now called plain; type model/net=plain"]),
        (
            ["model/alarm=[won,collapse]"],
            ["this choice is now called [d_wins,collapse]; type model/alarm=[d_wins,coll"],
        ),
        (["seed=1", "model.net.tall=2", "steps_max=5"], ["type model.net.depth=2", "type trainer.max_steps=5"]),
        (["-m", "model.net.tall=2,3"], ["this option is now called model.net.depth"]),
    ],
)
@pytest.mark.usefixtures("table")
def test_an_old_name_on_the_command_line_is_answered_with_the_new_one(
    typed: list[str], expected: list[str], sr: Any
) -> None:
    answer = sr("run", *typed)
    assert answer.code == 2
    assert all(text in answer.err for text in expected), answer.err
    assert "Traceback" not in answer.err


def test_options_that_were_renamed_are_answered(sr: Any) -> None:
    answer = sr("run", "model/net=fsrcnn", "model.net.start=bicubic")
    assert answer.code == 2
    assert "this option is now called model.net.initialization; type model.net.initialization=bicubic" in answer.err


@pytest.mark.usefixtures("table")
def test_an_old_name_in_an_experiment_of_ones_own_is_refused(sr: Any, tmp_path: Path) -> None:
    """Otherwise it would be ignored without a word, because a YAML may add options."""
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "old.yaml").write_text("# @package _global_\nsteps_max: 3\n")
    answer = sr("run", "--config-dir", "mine", "experiment=old")
    assert answer.code == 2
    assert "steps_max: this option is now called trainer.max_steps" in answer.err


def test_the_table_names_options_and_classes_that_exist() -> None:
    """A new name is final (no chain of renamings), a class can be imported, an option is in some YAML."""
    options: set[str] = set()
    for path in find_conf_dir().rglob("*.yaml"):
        group = ".".join(path.parent.relative_to(find_conf_dir()).parts)
        text = path.read_text(encoding="utf-8")
        prefix = "" if "@package _global_" in text else f"{group}."
        options |= {f"{prefix}{key}".lstrip(".") for key in list_keys(OmegaConf.to_container(OmegaConf.create(text)))}
    assert not set(renamed.OPTIONS) & set(renamed.OPTIONS.values())
    for new in renamed.OPTIONS.values():
        pattern = re.escape(new).replace(r"\*", r"[^.]+")
        assert find_new_name(new) is None
        assert new == "model.guard.snapshot_interval" or any(re.fullmatch(pattern, option) for option in options), new
    for target, names in renamed.ARGUMENTS.items():
        module, _, name = target.rpartition(".")
        parameters = inspect.signature(getattr(importlib.import_module(module), name)).parameters
        assert set(names.values()) <= set(parameters)
        assert not set(names) & set(parameters)
    for new in renamed.TARGETS.values():
        module, _, name = new.rpartition(".")
        assert hasattr(importlib.import_module(module), name)


def list_keys(node: Any, prefix: str = "") -> list[str]:
    if not isinstance(node, dict):
        return []
    return [key for name, part in node.items() for key in (f"{prefix}{name}", *list_keys(part, f"{prefix}{name}."))]
