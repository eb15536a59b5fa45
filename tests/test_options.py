"""Types and ranges of every option are checked before a run exists: each wrong value is answered with the option's name."""

import contextlib
import importlib
import math
import re
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import pytest
from omegaconf import OmegaConf

from sr.config import options, schema
from sr.config.signature import find_wrong_values
from sr.runtime.error import UserError

NAN = math.nan
CONF = schema.find_conf_dir()
COMMANDS = sorted(path.stem for path in CONF.glob("*.yaml"))
# Options of which a value of another type has a meaning.
NULL_IS_A_VALUE = {
    "model.ema": "no average",
    "model.guard": "the default guard",
    "track.system_interval": "no samples",
    "track.uri": "the database in paths.runs",
    "data.cache": "no cache",
    "data.exclude": "no image",
    "sweep.sampler.multivariate": "optuna's choice",
    "sweep.pool.parameters": "no further ones",
    "data.degrade.ops.weights": "equal ones",
}
TEXT_IS_A_VALUE = {"trainer.compile": "the name of a backend, of which the installed packages decide"}
NUMBER_IS_A_VALUE = {"trainer.devices": "a count"}
LIST_IS_A_VALUE = {"trainer.devices": "the numbers of GPUs", "data.degrade.mtf": "one for each band"}


class Option(NamedTuple):
    """An option of a YAML file, and the part that it belongs to."""

    key: str  # `model.net.width`
    part: dict[str, Any]
    name: str


def load(path: Path) -> dict[str, Any]:
    """Return a YAML file with the files that it takes lines from; interpolations stay as they are."""
    content = OmegaConf.to_container(OmegaConf.load(path))
    bases = [name for name in content.pop("defaults", []) if isinstance(name, str) and name != "_self_"]
    return {key: value for name in bases for key, value in load(path.with_name(f"{name}.yaml")).items()} | content


def list_options(node: Any, key: str) -> Iterator[Option]:
    """Yield each option of the parts below `node` that a user would set."""
    if isinstance(node, list):
        for k, item in enumerate(node):
            yield from list_options(item, f"{key}[{k}]")
    elif isinstance(node, dict):
        for name, value in node.items():
            where = f"{key}.{name}"
            yield from list_options(value, where)
            is_derived = isinstance(value, str) and value.startswith("${") and "oc.env" not in value
            if "_target_" in node and name[0] != "_" and not is_derived and not is_part(value):
                yield Option(where, node, name)


def is_part(value: Any) -> bool:
    return bool(value) and all(isinstance(item, dict) for item in (value if isinstance(value, list) else [value]))


def wrong_values(key: str, value: Any) -> list[Any]:
    """Return values of other types than that of conf/; no option takes NaN, or a dictionary in place of a value."""
    wrong: list[Any] = [NAN, math.inf, {"a": {"b": 1}}]
    if isinstance(value, bool):
        wrong += [1, 0.5, []] + ["fasle", "no", "off", "x"] * (key not in TEXT_IS_A_VALUE)
    elif isinstance(value, int | float):
        wrong += [True, "x", "1e-3", ""] + [[value]] * (key not in LIST_IS_A_VALUE)
    elif isinstance(value, str):
        wrong += (
            [True] + [5] * (key not in NUMBER_IS_A_VALUE) + [""] * ("oc.env" not in value)
        )  # an empty variable is as good as none
    elif isinstance(value, list):
        wrong += [5, True, [NAN], [{"a": 1}]]
    return wrong + [None] * (value is not None and strip_indices(key) not in NULL_IS_A_VALUE)


def strip_indices(key: str) -> str:
    return "".join(part.partition("]")[2] if k else part for k, part in enumerate(key.split("[")))


GROUPS = sorted({path.parent for path in CONF.rglob("*/[!_]*.yaml")} - {CONF / "experiment", CONF / "hydra" / "help"})
OPTIONS = {
    f"{group.relative_to(CONF)}={path.stem}": list(
        list_options(load(path), str(group.relative_to(CONF)).replace("/", "."))
    )
    for group in GROUPS
    for path in sorted(group.glob("[!_]*.yaml"))
}


@pytest.mark.parametrize("choice", OPTIONS)
def test_each_option_of_a_part_has_a_type(choice: str) -> None:
    """For every YAML of every group, whatever it is: values of another type are refused, and the option is named."""
    for option in OPTIONS[choice]:
        value = option.part[option.name]
        assert not list(find_errors(option, value)), "the value in conf/ is right"
        for wrong in wrong_values(option.key, value):
            errors = list(find_errors(option, wrong))
            assert errors, f"{option.key}={wrong!r} is accepted"
            assert errors[0].startswith(option.key)
            assert ": expected " in errors[0]
            assert "(found " in errors[0]


def find_errors(option: Option, value: Any) -> Iterator[str]:
    """Return the messages about this option, if it has this value."""
    part, _, _ = option.key.rpartition(".")
    for wrong in find_wrong_values(option.part | {option.name: value}, key=part):
        if wrong.key == option.key or wrong.key.startswith((f"{option.key}.", f"{option.key}[")):
            yield wrong.message


def test_nearly_all_options_are_among_them() -> None:
    assert len({option.key for found in OPTIONS.values() for option in found}) >= 200


# Values that were accepted, or ended in a traceback: dotted key, value, and what is said.
GAN = (
    "model=gan", "model/adversarial=vanilla", "model/loss=[l1,charbonnier,features]", "model/penalty=[r1,gradient]",
    "model/schedule=multi_step", "data=folder", "data.path=x", "data/augment=[mixup]", "data/degrade=bsr",
)  # fmt: skip
CNN = ("model/schedule=one_cycle", "model/optimizer=sgd")
WRONG_OF_GAN = [
    # Words for booleans, and booleans for numbers.
    *(("model.adversarial.saturating", word) for word in ("no", "off", "fasle", 1, None)),
    ("model.loss.features.before_relu", "no"),
    ("model.optimizer.fused", "x"),
    ("model.optimizer.lr", True),
    ("model.loss.l1.weight", True),
    ("data.workers", True),
    ("trainer.gradient_clip_val", True),
    ("trainer.deterministic", "x"),
    ("trainer.channels_last", "maybe"),
    # Numbers that can only be mistakes.
    *(("model.schedule.gamma", value) for value in (-1, 0, NAN)),
    *((f"model.loss.{name}.weight", value) for name in ("l1", "features") for value in (-1, 0, NAN, math.inf)),
    *(("model.loss.charbonnier.eps", value) for value in (-1, 0, NAN)),
    *(("trainer.gradient_clip_val", value) for value in (NAN, -1, 0)),
    *(("model.clip", value) for value in (-1, NAN, "x")),
    *(
        (f"model.{name}.weight_decay", value)
        for name in ("optimizer", "discriminator_optimizer")
        for value in (math.inf, -1)
    ),
    *(
        (f"model.{name}.lr", value)
        for name in ("optimizer", "discriminator_optimizer")
        for value in (math.inf, NAN, -1)
    ),
    *(("model.adversarial_weight", value) for value in (-1, NAN)),
    *((f"model.penalty.{name}.weight", value) for name in ("r1", "gradient") for value in (-1, NAN)),
    *((f"model.penalty.{name}.interval", 0) for name in ("r1", "gradient")),
    *(("model.instance_noise", value) for value in (NAN, -0.1)),
    *(("model.guard.explosion_factor", value) for value in (NAN, 1)),
    ("checkpoint_minutes", NAN),
    ("data.disk", NAN),
    ("data.memory", NAN),
    ("track.panels", -1),
    ("track.panels", "x"),
    *(("data.augment.mixup.alpha", value) for value in (NAN, 0)),
    *(("data.augment.mixup.probability", value) for value in (1.5, -0.1, "often", True)),
    ("data.memory", -1),
    ("model.adversarial.label_smoothing", 0.9),
    *(("track.system_interval", value) for value in (0, -1, True, "often")),
    ("model.schedule.milestones", [0.9, 0.1]),
    ("model.schedule.milestones", [1.5]),
    # Wrong types, which ended in a traceback or a message without a name.
    ("monitor", 5),
    ("monitor_also", []),
    ("data.patch", None),
    ("data.repeat", None),
    ("data.repeat", 1_000_000_000),
    ("data.test", [5]),
    ("data.val", None),
    ("data.path", 5),
    ("data.path", ""),
    ("model.optimizer.betas", [0.9, 0.99, 0.9]),
    ("model.optimizer.betas", [0.9, 1.0]),
    ("model.optimizer.lr", "1e-3"),
    ("model.ema", "x"),
    ("model.ema", 1),
    ("model.d_steps", 0),
    *((f"model.{name}", value) for name in ("warmup_steps", "ramp_steps") for value in (0.5, -1)),
    *((f"model.guard.{name}", 0) for name in ("max_skips", "lr_factor", "snapshot_interval")),
    ("model.guard.max_rollbacks", -1),
    ("model.guard.lr_factor", 2),
    ("scale", "2"),
    ("scale", None),
    ("seed", -1),
    ("seed", None),
    ("stages", None),
    ("stages", ["fitt"]),
    ("trust", "mine"),
    ("resume", 5),
    ("resume", ""),
    ("paths.runs", None),
    ("paths.runs", ""),
    ("paths.cache", ""),
    ("paths.data", 5),
    ("track.group", 5),
    ("trainer.max_steps", 1e3),
    ("trainer.max_steps", None),
    ("trainer.val_check_interval", None),
    ("trainer.accumulate_grad_batches", 0),
    ("trainer.accelerator", "cdua"),
    ("data.degrade.ops[1].quality", ["x", 5]),
    ("data.degrade.ops[0].ops[2].sigma", [25, 2]),
    ("data.degrade.ops[0].ops[3].probability", True),
]
WRONG_OF_CNN = [
    *(("model.schedule.final_factor", value) for value in (-1, 5, NAN)),
    *(("model.schedule.start_factor", value) for value in (-1, NAN)),
    ("model.schedule.warmup", -1),
    *(("model.net.depth", value) for value in (0, -1, NAN, 3.5)),
    *(("model.net.width", value) for value in ("x", 0, None)),
    ("model.optimizer.nesterov", "no"),
    ("model.optimizer.momentum", 1.5),
    ("model.net", 5),
    ("model.loss", None),
]


@pytest.fixture(scope="module")
def composed(compose: Any) -> dict[str, dict[str, Any]]:
    """Configs of a run by what is trained."""
    return {"gan": compose(*GAN), "cnn": compose(*CNN)}


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [*(("gan", *row) for row in WRONG_OF_GAN), *(("cnn", *row) for row in WRONG_OF_CNN)],
)
def test_a_wrong_value_is_refused_with_its_name(kind: str, key: str, value: Any, composed: dict[str, Any]) -> None:
    config = change(composed[kind], key, value)
    with pytest.raises(UserError) as error:
        schema.check_config(config)
    assert str(error.value).startswith(f"{key}=")
    assert ": expected " in str(error.value)
    assert "(found " in str(error.value)


def change(config: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """Return a copy of a config in which one option, `data.degrade.ops[1].quality`, has another value."""
    result = node = deepcopy(config)
    *parents, name = (
        int(word) if word.isdigit() else word for word in key.replace("[", ".").replace("]", "").split(".")
    )
    for parent in parents:
        node = node[parent]
    node[name] = value
    return result


@pytest.mark.parametrize(
    ("key", "value", "advice"),
    [
        ("model.net.width", "x", "model.net.width=x: expected a whole number, 1 or more (found the text 'x')"),
        ("model.optimizer.lr", "1e-3", "(found the text '1e-3'); a number is typed without quotes"),
        (
            "model.optimizer.nesterov",
            "off",
            "expected true or false (found the text 'off'); type model.optimizer.nesterov=false",
        ),
        ("model.optimizer.nesterov", "fasle", 'Did you mean "false"?'),
        ("trainer.max_steps", 2e4, "type trainer.max_steps=20000"),
        (
            "data.test",
            "Set5",
            "data.test=Set5: expected a list, each text (found the text 'Set5'); type data.test=[Set5]",
        ),
        ("track.experiment", 2026, "a text that looks like a number is typed in quotes: 'track.experiment=\"2026\"'"),
        (
            "color",
            "rbg",
            "color=rbg: expected one of rgb, y, gray, bands (found the text 'rbg'). Did you mean \"rgb\"?",
        ),
        ("model.net", 5, "a part is chosen with a slash, model/net=NAME"),
        ("model.ema", 1, "expected a number above 0 and below 1, or null (found the number 1)"),
        ("model.optimizer.momentum", NAN, "expected a number from 0 to below 1 (found nan)"),
    ],
)
def test_the_message_says_what_to_do(key: str, value: Any, advice: str, composed: dict[str, Any]) -> None:
    with pytest.raises(UserError) as error:
        schema.check_config(change(composed["cnn"], key, value))
    assert advice in str(error.value)


def test_of_an_option_and_those_that_follow_from_it_the_typed_one_is_named(sr: Any) -> None:
    answer = sr("run", "trainer.gradient_clip_val=nan")  # model.clip is the same value
    assert answer.code == 2
    assert "error: trainer.gradient_clip_val=nan: expected a number above 0, or null (found nan)" in answer.err


# Options at the top of a config.


@pytest.mark.parametrize("command", COMMANDS)
def test_each_option_of_a_command_has_a_type(command: str) -> None:
    content = OmegaConf.to_container(OmegaConf.load(CONF / f"{command}.yaml"))
    defaults = content.pop("defaults", [])
    kinds = get_type_hints(getattr(options, f"{command.title()}Options"), include_extras=True)
    assert set(content) <= set(kinds)
    assert "run" in defaults or set(kinds) == set(content)  # one that is in no YAML cannot be typed
    assert set(content.get("paths", {})) <= set(get_type_hints(kinds["paths"])) if "paths" in kinds else True


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("run model=gan model.adversarial.saturating=no", "model.adversarial.saturating=no: expected true or false"),
        ("run model/loss=[l1,l1]", "model/loss=[l1,l1]: expected each part once (found l1 twice)"),
        ("evaluate model/net=bicubic scale=2 data.test=[5]", "data.test=[5]: expected a list"),
        ("inspect out=null", "out=null: expected a path (found null)"),
        ("bench seconds=nan", "seconds=nan: expected a number above 0 (found nan)"),
        (
            "predict checkpoint=a output=b input=null",
            "input=null: expected a path, or a list, each a path (found null)",
        ),
    ],
)
def test_a_command_refuses_a_wrong_value(words: str, said: str, sr: Any) -> None:
    answer = sr(*words.split())
    assert answer.code == 2
    assert said in answer.err
    assert "Traceback" not in answer.err


@pytest.mark.parametrize(
    ("command", "key", "value", "expected"),
    [
        ("predict", "input", None, "a path, or a list, each a path (found null)"),
        ("predict", "output", "", "a path, or null (found no text)"),
        ("predict", "device", None, "text"),
        ("predict", "scale", "2", "one of 2, 3, 4, 8, or null (found the text '2')"),
        ("predict", "overwrite", "no", "true or false"),
        ("predict", "tile", 0, "a whole number, 1 or more, or null"),
        ("predict", "trust", "x", "a list, each text (found the text 'x'); type trust=[x]"),
        ("verify", "scales", [2, "x"], "a list, each one of 2, 3, 4, 8 (found the text 'x' in it)"),
        ("verify", "out", None, "a path"),
        ("clean", "days", "x", "a number, 0 or more"),
        ("clean", "days", NAN, "a number, 0 or more"),
        ("clean", "apply", 1, "true or false"),
        (
            "sync",
            "folders",
            [5],
            'a list, each a path (found the number 5 in it); a text that looks like a number is typed in quotes, "5"',
        ),
        ("sync", "uri", 5, "text, or null"),
        ("reproduce", "run", None, "a path"),
        ("reproduce", "tolerance", NAN, "a number, 0 or more"),
        ("reproduce", "dry", "x", "true or false"),
    ],
)
def test_a_command_without_parts_refuses_a_wrong_value(command: str, key: str, value: Any, expected: str) -> None:
    cfg = OmegaConf.load(CONF / f"{command}.yaml")
    cfg.update({name: "x" for name in cfg if OmegaConf.is_missing(cfg, name)} | {key: value})
    with pytest.raises(UserError, match=f"^{re.escape(f'{key}=')}.*{re.escape(f': expected {expected}')}"):
        getattr(importlib.import_module(f"sr.{command}"), command)(cfg)


@pytest.mark.parametrize("command", ["verify", "clean", "sync", "reproduce"])
@pytest.mark.parametrize("value", [None, "", 5])
def test_a_folder_is_named_by_text(command: str, value: Any) -> None:
    cfg = OmegaConf.load(CONF / f"{command}.yaml")
    name = list(cfg.paths)[-1]
    cfg.update({key: "x" for key in cfg if OmegaConf.is_missing(cfg, key)})
    cfg.paths[name] = value
    with pytest.raises(UserError, match=rf"^paths\.{name}=.*: expected a path \(found "):
        getattr(importlib.import_module(f"sr.{command}"), command)(cfg)


@pytest.mark.parametrize("content", [None, {"sr": 5}, {"sr": {"config": {}}}])
def test_a_file_that_is_no_checkpoint_is_named_by_its_option(content: Any, tmp_path: Path) -> None:
    import torch

    from sr.training.branch import find_checkpoint

    file = tmp_path / "file.ckpt"
    file.write_text("root:x:0:0") if content is None else torch.save(content, file)
    with pytest.raises(UserError, match=rf"^resume={file}: not "):
        find_checkpoint({"resume": str(file), "trainer": {"max_steps": 10}, "model": {}})


def test_a_device_without_data_is_refused(build: Any) -> None:
    with pytest.raises(UserError, match="device=meta: expected a device that computes"):
        build.select_device("meta")


# What was accepted once, and parts of a user's own.


def test_what_a_resumed_run_had_is_not_refused(composed: dict[str, Any]) -> None:
    """A run from before these checks had a weight of 0 and words for booleans; only what changes is checked."""
    stored = change(composed["gan"], "model.adversarial.saturating", "no")
    stored = change(stored, "model.guard.explosion_factor", NAN)
    schema.check_config(deepcopy(stored), stored=stored)
    with pytest.raises(UserError, match=r"model\.adversarial\.saturating=off"):
        schema.check_config(change(stored, "model.adversarial.saturating", "off"), stored=stored)


PARTS = """
from enum import Enum
from typing import Annotated, Literal, Optional, Union

import annotated_types as at
from annotated_types import Ge, Interval

from sr.runtime.option_types import Fraction
from own_sizes import Size


class Mode(Enum):
    FAST = "fast"


Share = Annotated[float, Interval(ge=0, le=1)]


class Base:
    def __init__(self, base: "int" = 1, **more: str) -> None: ...


class Own(Base):
    def __init__(
        self, free=1, mode: Mode = Mode.FAST, share: Share = 0.5, count: Annotated[int, Ge(1)] = 1,
        other: Optional[Annotated[int, at.Le(3)]] = None, ours: Fraction = 0.5, kind: Literal["a", "b"] = "a",
        sizes: Union[Size, list[Size]] = 1, bare: tuple = (), unknown: "Nowhere" = None,
    ) -> None: ...


class Open(Base):
    def __init__(self, *args, **options) -> None: ...
"""


@pytest.mark.parametrize(
    ("option", "right", "wrong"),
    [
        ("free", ["x", 1, NAN, None], []),  # without an annotation it is not checked
        ("mode", ["fast", 5], []),  # nor is one that only the class understands
        ("unknown", ["fast", 5], []),
        ("share", [0, 1], [2, "x", None, True]),
        ("count", [1], [0, 1.5, NAN]),
        ("other", [3, None], [4, "x"]),
        ("ours", [0.5], [1.5]),
        ("kind", ["a"], ["c", None]),
        ("bare", [[], [1, "x"]], ["x", 5]),
        ("sizes", [1, [1, 2]], [0, [0], "x"]),
    ],
)
def test_annotations_of_typed_parts_are_checked(
    option: str, right: list[Any], wrong: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "typed_parts.py").write_text(PARTS)
    (tmp_path / "own_sizes.py").write_text("from sr.runtime.option_types import PositiveInt\nSize = PositiveInt\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    for value in right:
        assert not list(find_wrong_values({"_target_": "typed_parts.Own", option: value}, key="model.net"))
    for value in wrong:
        found = list(find_wrong_values({"_target_": "typed_parts.Own", option: value}, key="model.net"))
        assert [error.key for error in found] == [f"model.net.{option}"]
    assert not list(find_wrong_values({"_target_": "typed_parts.Open", "anything": "x"}))
    with pytest.raises(UserError, match='has no option "anything"'):
        list(find_wrong_values({"_target_": "typed_parts.Own", "anything": 1}, key="model.net"))


def test_a_part_that_is_no_python_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_part.py").write_text("class Tiny:\n    def __init__(self, width: int = 8:\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    with pytest.raises(UserError, match=r"broken_part\.py, line 2: cannot be read as Python \(invalid syntax"):
        list(find_wrong_values({"_target_": "broken_part.Tiny"}, key="model.net"))


@pytest.mark.parametrize(
    ("word", "is_repeated"),
    [
        ("model/loss=[l1,l1]", True),
        ('data/augment=["cutmix", cutmix]', True),
        ("model/loss=[l1,fft]", False),
        ("model/alarm=[]", False),
        ("model/net=edsr", False),
        ("data.exclude=[a,a]", False),
    ],
)
def test_a_part_is_chosen_once(word: str, is_repeated: bool) -> None:
    with pytest.raises(UserError, match="expected each part once") if is_repeated else contextlib.nullcontext():
        schema.check_repeated_parts([word])
