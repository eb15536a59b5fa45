"""Names on the command line: as they are typed, and as they are printed, whatever characters are in them."""

import os
import random
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import write_image
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from sr.config.command_line import QUOTED_TEXT, format_command, format_value, read_text
from sr.config.option_type import OptionType, find_option_type
from sr.config.quoting import quote_words
from sr.training.report import TrainingReport

PIECES = [
    *"ab1-_.~$%#?&=,;:!*^|<>()[]{}@+'\"\\ `", "é", "写真", "🦊", "ß", "\u00a0", "  ", "${x}", "\\${", "\\\\", '\\"', "\\'",
    "[scan]", "(v2)", "%20", "null", "true", "1e3", "=", "a=b", "\n", "--", "range(1,2)",
]  # fmt: skip
USES = {  # of a name: command, option, whether it is in a list
    "run folder": ("run", "resume", False),
    "runs": ("run", "paths.runs", False),
    "image": ("predict", "input", False),
    "set": ("evaluate", "data.test", True),
    "experiment": ("run", "track.experiment", False),
    "checkpoint": ("evaluate", "checkpoint", False),
    "weights": ("run", "model.loss.perceptual.weights", False),
}
TINY_YAML = "_target_: tiny.Tiny\nscale: ${scale}\nchannels: ${channels}\n"
TINY = """
from torch import nn


class Tiny(nn.Sequential):
    def __init__(self, scale, channels):
        super().__init__(nn.Conv2d(channels, channels * scale**2, 3, padding=1), nn.PixelShuffle(scale))
        self.scale, self.channels, self.receptive_field = scale, channels, 3
"""
PARSER = OverridesParser.create()


def make_names(count: int) -> list[str]:
    """Return names of files, with every character that has a meaning for Hydra, OmegaConf or the shell."""
    rng = random.Random(0)
    names = ["-x", "~x", "~", "[scan] 01.png", "'q'.png", "back\\slash.png", "photos (v2)", "a'b\"c", "x\\", "ä" * 127]
    while len(names) < count:
        name = "".join(rng.choices(PIECES, k=rng.randint(1, 9)))
        names.append(name if rng.random() < 0.95 else (name * 255).encode()[:255].decode(errors="ignore"))
    return [name for name in names if name not in (".", "..") and "/" not in name]


NAMES = make_names(300)


def for_names(*uses: str) -> pytest.MarkDecorator:
    """Parametrize a test by uses of names: a share of all names for each use, and in the slow test all names."""
    shares = [(use, NAMES[k :: len(uses)]) for k, use in enumerate(uses)]
    every = [pytest.param(use, NAMES, marks=pytest.mark.slow) for use in uses]
    ids = [f"{use}, {text}" for text in ("a share", "all") for use in uses]
    return pytest.mark.parametrize(("use", "names"), [*shares, *every], ids=ids)


def read_by_hydra(words: list[str]) -> Any:
    """Return the value of the last word as the config has it, by way of Hydra's sweeper if the first word is -m."""
    override = PARSER.parse_overrides(words[-1:])[0]
    if words[0] == "-m":
        assert not override.is_sweep_override()
        override = PARSER.parse_overrides([f"{override.get_key_element()}={override.get_value_element_as_str()}"])[0]
    return OmegaConf.to_container(OmegaConf.create({"value": override.value()}), resolve=True)["value"]


@for_names(*USES)
def test_a_printed_name_is_read_as_it_was(use: str, names: list[str]) -> None:
    """In each printed command, pasted into a POSIX shell, whether or not there is a file of that name."""
    command, key, is_list = USES[use]
    values = [[name, "Set5"] if is_list else name for name in names]
    printed = [format_command(f"sr.{command}", {key: value}) for value in values]
    for value, text in zip(values, printed, strict=True):
        words = quote_words(shlex.split(text)[3:], command)
        assert read_by_hydra(words) == value
        assert is_list or read_text(words[0].partition("=")[2]) == value
    script = "\n".join(f"printf '%s\\0' {text}" for text in printed)
    pasted = subprocess.run(["/bin/sh"], input=script.encode(), capture_output=True, check=True).stdout
    assert pasted.decode().split("\0")[:-1] == [word for text in printed for word in shlex.split(text)]


@pytest.mark.parametrize("flags", [[], ["-m"]], ids=["once", "sweep"])
@for_names("run folder", "image", "checkpoint", "weights")
def test_the_name_of_a_file_needs_no_quotes(
    use: str, names: list[str], flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever Hydra would make of it: a list, a sweep, a function or a number."""
    command, key, _ = USES[use]
    monkeypatch.chdir(tmp_path)
    for name in names:
        if name[0] == "~" or QUOTED_TEXT.fullmatch(name) or name == "null":
            continue  # a home folder, quotation marks of Hydra, no value: ./NAME is this file
        Path(name).touch()
        assert read_by_hydra(quote_words([*flags, f"{key}={name}"], command)) == name
        assert read_by_hydra(quote_words([*flags, f"{key}=./{name}"], command)) == f"./{name}"


@for_names("runs", "experiment", "set")
def test_a_text_needs_no_quotes_unless_it_has_a_meaning(use: str, names: list[str]) -> None:
    """An interpolation stays one, and quotation marks remain Hydra's; in a list, so do commas and brackets."""
    command, key, is_list = USES[use]
    for name in (name.strip() for name in names):
        meaningful = ("${", ",", "[", "]", "(", ")", "{", "}") if is_list else ("${",)
        if any(text in name for text in meaningful) or name[:1] in ("", "'", '"') or name == "null":
            continue
        value = [name] if is_list else name
        if is_list and name.lower() in ("1", "1e3", "11"):
            continue  # numbers of a list stay numbers
        assert read_by_hydra(quote_words([f"{key}=[{name}]" if is_list else f"{key}={name}"], command)) == value


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["data.test=[photos (v2),Set5]"], ["photos (v2)", "Set5"]),
        (["data.test=[фото]"], ["фото"]),
        (["data.path=[my photos, b (1)]"], ["my photos", "b (1)"]),
        (["data.exclude=[302003,a (1)]"], [302003, "a (1)"]),
        (["track.uri=sqlite:////a b/mlflow.db?x=1&y=%20"], "sqlite:////a b/mlflow.db?x=1&y=%20"),
        (["track.experiment=2026"], "2026"),
        (["track.experiment=null"], None),
        (["track.group=it's 50 %"], "it's 50 %"),
        (["data.path='photos (v2)'"], "photos (v2)"),
        (["seed=3"], 3),
        (["model.optimizer.lr=1e-3"], 1e-3),
        (["model.discriminator_optimizer.lr=2e-4"], 2e-4),
        (["data.path=${oc.env:NAME}/photos (v2)"], "from env/photos (v2)"),
        (["-m", "data.path=photos (v2)"], "photos (v2)"),
    ],
)
def test_examples(typed: list[str], expected: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAME", "from env")
    assert read_by_hydra(quote_words(typed, "run")) == expected


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("data.path=photos (v2),b", ["photos (v2)", "b"]),  # no file has this name
        ("data.path=there, too", None),  # a file
        ("seed=0,1", ["0", "1"]),
        ("seed=range(1,3)", None),
        ("track.group=choice(a,b)", ["a", "b"]),
        ("data.test=[Set5],[a b,c]", ["[Set5]", '["a b",c]']),
    ],
)
def test_a_comma_in_a_sweep_separates_values_unless_a_file_has_the_name(
    typed: str, expected: list[str] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there, too").touch()
    words = quote_words(["-m", typed], "run")
    override = PARSER.parse_overrides(words[-1:])[0]
    if expected is None:
        assert override.is_sweep_override() == typed.startswith("seed")
    else:
        assert [read_text(value) for value in override.sweep_string_iterator()] == expected


def report_of(config: dict[str, Any], folder: Path, files: list[str]) -> TrainingReport:
    """Return the report of a run in this folder with these checkpoints."""
    tracker = SimpleNamespace(run_id=None, location_line=None, view_command="mlflow ui --backend-store-uri x")
    start = SimpleNamespace(config=config, overrides=["seed=1", 'paths.data="my data"'])
    best = SimpleNamespace(list_files=lambda: [folder / file for file in files], second_best=None, second_path=None)
    run = SimpleNamespace(start=start, folder=folder, tracker=tracker, step=lambda: 2, print_location=lambda _: None)
    callbacks = SimpleNamespace(best=SimpleNamespace(**vars(best) | {"second_best": SimpleNamespace(values={})}),
                                alarms=SimpleNamespace(format_advice=list))  # fmt: skip
    model = SimpleNamespace(metrics={}, color="rgb", metric=SimpleNamespace(name="edsr", depth=8))
    return TrainingReport(run, model, callbacks, None, {}, 0.0)


@pytest.mark.parametrize("name", ["runs", "my runs, (1)", "[é] 'q' \"d\" $x ${y} \\", "~a;b&c#%20?"])
def test_next_commands_can_be_pasted(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    """They name the run's files, its folder of images, and what a net of the user's own needs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["sr-run", "--config-dir", "my parts"])
    net = {"_target_": "tiny.Tiny", "scale": 2}
    config = {"model": {"_target_": "sr.model.cnn.CNN", "net": net, "loss": {"_target_": "own_loss.Loss"}}}
    config["paths"] = {"data": "my data"}
    for folder in ("Set5", "Set14"):
        (tmp_path / "my data" / folder).mkdir(parents=True)
    report_of(config, tmp_path / name, ["best.ckpt"]).print("KILLED")
    lines = capfd.readouterr().out.partition("next:\n")[2].splitlines()
    commands = [shlex.split(line) for line in lines]
    assert [words[1:3] for words in commands] == [["-m", f"sr.{c}"] for c in ("run", "predict", "evaluate")] + [
        ["-m", "mlflow"]
    ]
    expected = [
        {"resume": name, "trust": ["tiny", "own_loss"]},
        {"checkpoint": f"{name}/best.ckpt", "trust": ["tiny"], "input": "YOUR.png", "output": "upscaled"},
        {"paths.data": "my data", "checkpoint": f"{name}/best.ckpt", "trust": ["tiny"], "data.test": ["Set5", "Set14"]},
    ]
    for words, values in zip(commands, expected, strict=False):
        flag, *overrides = quote_words(words[3:], words[2].removeprefix("sr."))
        assert flag == "--config-dir=my parts"
        found = {word.partition("=")[0]: read_by_hydra([word]) for word in overrides}
        assert {key: str(v).removeprefix("./") if isinstance(v, str) else v for key, v in found.items()} == values


@pytest.mark.long
def test_printed_commands_run_in_a_shell(tmp_path: Path, sr_data: Path) -> None:
    """A run in a folder with an odd name, of a net of the user's own: what it prints works when it is pasted."""
    folder = tmp_path / "my [proj] 'é', (1) = $x"
    (folder / "my parts" / "model" / "net").mkdir(parents=True)
    (folder / "my parts" / "model" / "net" / "tiny.yaml").write_text(TINY_YAML)
    (folder / "my parts" / "tiny.py").write_text(TINY)
    for file in ("[scan] 'q' back\\slash.png", "YOUR.png"):
        write_image(folder / file, 24, 32)
    for k in range(4):
        write_image(folder / "photos (v2)" / f"{k}.png", 64, 64, seed=k)
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd()), "SR_RUNS": "my runs", "SR_DATA": str(sr_data)}

    def paste(line: str) -> str:
        done = subprocess.run(
            ["/bin/sh", "-c", line], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (line, done.stderr)
        return done.stdout

    typed = ["--config-dir", "my parts", "model/net=tiny", "trainer.max_steps=1", "data=folder", "data.path=photos (v2)",
             "data.patch=32", "track=journal", "track.experiment=My set (v2)"]  # fmt: skip
    out = paste(shlex.join([sys.executable, "-m", "sr.run", *typed]))
    predict, evaluate = (line for line in out.partition("next:\n")[2].splitlines() if line)
    paste(predict)
    assert (folder / "upscaled" / "YOUR_x2.png").exists()
    paste(f"{evaluate} track=none metric/also=[]")
    paste(predict.replace("input=YOUR.png", shlex.quote("input=[scan] 'q' back\\slash.png")))
    assert (folder / "upscaled" / "[scan] 'q' back\\slash_x2.png").exists()
    paste(shlex.join([sys.executable, "-m", "sr.run", "-m", "seed=0,1", *typed]))


def test_the_type_of_an_option_is_known_from_conf_and_signatures(tmp_path: Path) -> None:
    text, texts, none = OptionType(True, False), OptionType(False, True), OptionType(False, False)
    expected = {
        "data.lr": text, "data.test": texts, "data.path": OptionType(True, True), "track.uri": text, "trust": texts,
        "model.init": text, "model.net.file": text, "model.net.width": none, "metric.also.lpips.weights": text,
        "model.loss.perceptual.weights": text, "paths.data": text, "trainer.devices": none, "seed": none, "what": None,
        "model.discriminator_optimizer.lr": none, "model.adversarial_weight": none,  # 1e-4 is a text for PyYAML
    }  # fmt: skip
    assert {key: find_option_type(key, "run") for key in expected} == expected
    (tmp_path / "model" / "net").mkdir(parents=True)
    (tmp_path / "model" / "net" / "mine.yaml").write_text("_target_: mine.Net\nfolder: photos\nside: 3\n")
    assert find_option_type("model.net.folder", "run", [str(tmp_path)]) == text
    assert find_option_type("model.net.side", "run", [str(tmp_path)]) == none


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, "null"), (True, "true"), (2, "2"), (0.5, "0.5"), ("", '""'), ("null", '"null"'), (["a b"], '["a b"]')],
)  # fmt: skip
def test_values_are_printed_as_hydra_reads_them(value: Any, expected: str) -> None:
    assert format_value(value) == expected
    assert read_by_hydra([f"key={expected}"]) == value
