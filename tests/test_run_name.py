"""Names and parameters of runs: what a run varies is in both, whether it was typed, is a default or is an experiment's."""

import random
import shlex
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from sr.config.changed_options import list_changed_options, name_group
from sr.config.schema import find_conf_dir
from sr.record.hyperparameters import (
    NOT_SHOWN_AT_ROOT,
    NOT_SHOWN_IN_PARTS,
    SHOWN_IN_SHORT,
    select_hyperparameters,
)
from sr.record.run_folder import create_run_folder
from sr.record.run_name import MAX_LENGTH, NOT_NAMED, VISIBLE_LENGTH, format_run_name


def list_choices(group: str) -> list[str]:
    return sorted(path.stem for path in (find_conf_dir() / group).glob("[!_]*.yaml"))


@pytest.fixture(scope="module")
def describe(compose: Any) -> Any:
    """Return a function: command line -> the arguments of what makes parameters and the name of its run."""

    @lru_cache
    def describe_command(*words: str) -> tuple[dict[str, Any], dict[str, str | None], list[str]]:
        config = compose(*words)
        groups = {name_group(k): v for k, v in compose.choices.items() if not k.startswith("hydra/")}
        return config, groups, list_changed_options(compose.choices, words)

    return describe_command


GAN = ("model=gan", "model/adversarial=hinge", "model/penalty=[r1]", "model/loss=charbonnier", "model.warmup_steps=800")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            (),
            "model=cnn model.net=plain model.loss=l1 data=sample data.degrade=bicubic model.schedule=cosine metric=edsr",
        ),
        (("model/loss=[l1,fft]", "data/augment=[cutblur,mixup]"), "model.loss=l1+fft data.augment=cutblur+mixup"),
        (("model=gan",), "model.adversarial=vanilla model.discriminator_optimizer=adam metric.also=spectrum"),
        (GAN, "model.adversarial=hinge model.penalty=r1 model.loss=charbonnier model.warmup_steps=800"),
        (
            ("experiment=gan_cifar10", "model.optimizer.lr=1e-3"),
            "experiment=gan_cifar10 data=cifar10 model.adversarial=vanilla model.adversarial.saturating=False scale=4 "
            "model.warmup_steps=800 model.optimizer.lr=0.001 model.discriminator_optimizer.lr=0.0001",
        ),
    ],
)
def test_chosen_groups_and_changed_options_are_parameters(words: tuple[str, ...], expected: str, describe: Any) -> None:
    """A group has one key in all runs, typed or not; an option is shown if it was typed or an experiment sets it."""
    for selection in ("short", "all"):
        params = select_hyperparameters(*describe(*words), selection)
        assert dict(word.split("=") for word in expected.split()).items() <= params.items()
    assert "model.warmup_steps" not in select_hyperparameters(*describe("model=gan"))


def test_a_default_run_has_few_parameters(describe: Any) -> None:
    """MLflow prints all of them above an image."""
    params = select_hyperparameters(*describe())
    assert len(", ".join(f"{key}={value}" for key, value in params.items())) < 400


def test_options_that_are_named_by_hand_exist(describe: Any) -> None:
    """One that was renamed would be shown, or would no longer be shown."""
    configs = [describe()[0], describe("model=gan", "data=cifar10")[0]]
    keys = {key for config in configs for key in list_keys(config)}
    assert set(SHOWN_IN_SHORT) <= keys
    assert set(NOT_SHOWN_AT_ROOT) <= {key for key in keys if "." not in key}
    assert set(NOT_SHOWN_IN_PARTS) <= {key.rpartition(".")[2] for key in keys if "." in key}
    assert {key for key in NOT_NAMED if key != "experiment"} <= keys


def list_keys(node: dict[str, Any], key: str = "") -> list[str]:
    nested = [(f"{key}.{name}".lstrip("."), part) for name, part in node.items()]
    below = [name for option, part in nested if isinstance(part, dict) for name in list_keys(part, option)]
    return [option for option, _ in nested] + below


@pytest.mark.parametrize("group", ["model/loss", "model/alarm", "model/penalty", "metric/also", "data/augment"])
def test_a_part_of_a_list_has_the_name_of_its_file(group: str) -> None:
    """Hydra does not record what was chosen of these groups: the names come from the config."""
    for choice in list_choices(group):
        content = yaml.safe_load((find_conf_dir() / group / f"{choice}.yaml").read_text(encoding="utf-8"))
        assert list(content) == [choice]


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("model/net=espcn",), "espcn l1 s0"),
        (("model/net=espcn", "model.optimizer.lr=1e-3"), "espcn l1 s0 lr=0.001"),
        (GAN, "srr-s hinge charb s0 r1"),
        (
            ("data=folder", "data.path=[T91,/a/b/photos]", "model.init=/runs/x/best.ckpt"),
            "plain l1 s0 T91+phot",
        ),
        (("data=folder", "data.path=."), "plain l1 s0 folder"),
        (("experiment=gan_cifar10", "model.ema=0.99"), "srr-s vani s0x4 cifa ema=0.99"),
    ],
)
def test_a_name_begins_with_what_varies(words: tuple[str, ...], name: str, describe: Any) -> None:
    assert format_run_name(*describe(*words), list_changed_options({}, words)) == name


RUNS = {
    "model.net": list_choices("model/net"),
    "model.loss": list_choices("model/loss"),
    "model.adversarial": [None, *list_choices("model/adversarial")],
    "seed": list(range(10)),
    "scale": [2, 3, 4, 8],
    "data": ["sample", "cifar10", "folder", "pair"],
}


def test_names_of_different_runs_differ_where_a_list_shows_them() -> None:
    """Also if nets, losses, seeds, scales, data and adversarial losses all differ from the defaults."""
    rng, seen = random.Random(0), {}
    for _ in range(3000):
        run = {key: rng.choice(values) for key, values in RUNS.items()}
        name = name_run(run)
        assert name == name_run(run)
        assert len(name) <= MAX_LENGTH
        assert seen.setdefault(name[:VISIBLE_LENGTH], run) == run


@pytest.mark.parametrize("key", RUNS)
def test_names_of_runs_that_differ_in_one_factor_differ(key: str) -> None:
    base = {name: values[0] for name, values in RUNS.items()}
    names = [name_run(base | {key: value})[:VISIBLE_LENGTH] for value in RUNS[key]]
    assert len(set(names)) == len(names)


def name_run(run: dict[str, Any]) -> str:
    part = {"_target_": "a.B"}
    config = {"seed": run["seed"], "scale": run["scale"], "data": part, "model": {"loss": {run["model.loss"]: part}}}
    groups = {key: value for key, value in run.items() if "model" in key or key == "data"}
    groups["model"] = "gan" if run["model.adversarial"] else "cnn"
    defaults = {"model.loss": "l1", "scale": 2, "data": "sample"}
    return format_run_name(config, groups, [key for key, value in defaults.items() if run[key] != value], [])


@pytest.mark.parametrize("name", ["espcn l1 s0 lr=1e-3", "a/b [1] 'x'", "é", "-x. ", "l1+fft", "x" * 80])
def test_a_folder_name_needs_no_quotes(name: str, tmp_path: Path) -> None:
    folder = create_run_folder(str(tmp_path), name, {})
    assert shlex.quote(folder.name) == folder.name
    assert folder.parent == tmp_path
    assert len(folder.name) <= 48
