"""Networks by name, `checkpoint=NAME`: what a mistyped or missing one is answered, and that every card is right."""

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import Answer
from safetensors.torch import save_file

from sr import predict
from sr.checkpoint.load import initialize_weights, load_checkpoint, rename_option
from sr.comparison.selection import list_checkpoint_files
from sr.inference.complexity import count_parameters
from sr.model.cnn import CNN
from sr.net.plain import Plain
from sr.prediction import models, speed
from sr.pretrained import networks
from sr.pretrained.weight_file import KEY, write_weights
from sr.record.result import read_set_results
from sr.runtime.error import UserError

NETWORKS = {network.name: network for network in networks.list_networks()}
EVALUATE = ("data.test=[Set5]", "data/degrade=bicubic", "metric/also=[]", "track=none", "device=cpu")
PLAIN = {
    "scale": 2, "color": "rgb",
    "model": {"net": {"_target_": "sr.net.plain.Plain", "scale": 2, "channels": 3, "width": 8, "depth": 3}},
}  # fmt: skip


def require_network(name: str) -> str:
    """Return the name of a network, or skip the test if its package is not installed."""
    if NETWORKS[name].find_file() is None:
        pytest.skip(f"checkpoint={name} needs sr[{NETWORKS[name].extra}]")
    return name


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "realesrgan_x4plus" else ()) for name in NETWORKS]
)
def test_the_card_says_what_the_file_holds(name: str) -> None:
    card = NETWORKS[require_network(name)]
    path = card.find_file()
    loaded = load_checkpoint(name)
    assert (loaded.scale, count_parameters(loaded.net)) == (card.scale, card.parameters)
    size = path.with_suffix(".bin") if path.suffix == ".param" else path
    assert abs(size.stat().st_size / 1e6 - card.megabytes) < 0.06
    assert f"sr.net.{card.net}" in loaded.config["model"]["net"]["_target_"]


@pytest.mark.parametrize("option", ["checkpoint", "interpolate"])
def test_a_mistyped_name_is_answered(sr: Callable[..., Answer], option: str) -> None:
    words = {"checkpoint": "realesr_animevideov3_x4", "interpolate": "realesr_animevideov3_x4"}
    words[option] = "realesrgan_4xplus"
    answer = sr("evaluate", *EVALUATE, *(f"{key}={value}" for key, value in words.items()), "alpha=0.5")
    assert answer.code == 2
    assert f"error: {option}=realesrgan_4xplus: there is no such file, and no network of this name." in answer.err
    assert 'Did you mean "realesrgan_x4plus"? python -m sr.predict --models lists all networks' in answer.err


def test_a_missing_extra_is_named(sr: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks.importlib.util, "find_spec", lambda name: None)
    answer = sr("evaluate", *EVALUATE, "checkpoint=realesrgan_x4plus")
    assert answer.code == 2
    said = "checkpoint=realesrgan_x4plus: the weights of this network are not installed; type: pip install 'sr[pretrained]'"
    assert said in answer.err


@pytest.mark.parametrize("word", ["./realesrgan_x4plus", Path("realesrgan_x4plus"), "realesrgan_x4plus.pth"])
def test_a_path_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str | Path) -> None:
    """Also if there is a network of this name."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"^checkpoint={word}: there is no such file$"):
        load_checkpoint(word)


@pytest.mark.parametrize("option", ["checkpoint", "interpolate"])
def test_an_error_names_what_was_typed(option: str) -> None:
    """The name of the network, and not the path of its file."""
    name = require_network("realesr_animevideov3_x4")
    with pytest.raises(UserError, match=f"^scale=2: {option}={name} is for scale=4$"), rename_option(option, name):
        load_checkpoint(name, scale=2)


def test_safetensors_state_their_net(tmp_path: Path) -> None:
    """A net of an unusual size, in half precision, is read without `model/net`, and nothing else in the file is trusted."""
    net = Plain(2, 3, width=8, depth=3)
    torch.nn.init.normal_(net.body[-2].weight)
    path = tmp_path / "plain.safetensors"
    write_weights(path, {name: value.half() for name, value in net.state_dict().items()}, PLAIN)
    loaded = load_checkpoint(path)
    lr = torch.rand(1, 3, 9, 7)
    assert (loaded.scale, loaded.color) == (2, "rgb")
    torch.testing.assert_close(loaded.net(lr), net.half().float()(lr))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no JSON", "expected the config of a net as JSON"),
        ("[1]", "expected the config of a net as JSON"),
        ("{}", "the net that it states is damaged"),
        (json.dumps(PLAIN | {"scale": 3}), "not written by sr, or changed since"),
        (json.dumps(PLAIN).replace("sr.net.plain.Plain", "os.system"), "which is no part of sr that may stand there"),
        (json.dumps(PLAIN).replace('"depth": 3', '"depth": 4'), "its weights do not fit its net"),
        (json.dumps(PLAIN).replace('"depth": 3', '"depth": 1000000000'), "expected a net of 6 weights"),
    ],
)
def test_a_wrong_statement_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "plain.safetensors"
    save_file(Plain(2, 3, width=8, depth=3).state_dict(), path, {KEY: text})
    with pytest.raises(UserError, match=said):
        load_checkpoint(path)


def test_models_are_listed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks whose package is missing are listed as well, with the command that installs them."""
    fast = NETWORKS["realesr_animevideov3_x4"]
    slow = dataclasses.replace(NETWORKS["realesrgan_x4plus"], package="no_such_package")
    for module in (models, speed):
        monkeypatch.setattr(module, "list_networks", lambda: (fast, slow))
    monkeypatch.setattr(sys, "argv", ["sr-predict", "--models", "--speed", "device=cpu"])
    predict.main()
    lines = capsys.readouterr().out.splitlines()
    rows = {words[0]: words[1:] for line in lines if len(words := line.split()) == 8}
    assert rows["realesr_animevideov3_x4"][:4] == ["×4", "srvgg", "621,424", "1.2"]
    assert 0 < float(rows["realesr_animevideov3_x4"][5]) < 10_000
    assert rows["realesrgan_x4plus"] == ["×4", "rrdb", "16,697,987", "33.4", "26.63", "–", "BSD-3-Clause"]
    assert lines[-1] == "Not installed: realesrgan_x4plus; type: pip install 'sr[pretrained]'"
    monkeypatch.setattr(sys, "argv", ["sr-predict", "--models"])
    predict.main()
    columns = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["realesr_animevideov3_x4", "×4", "srvgg", "621,424", "1.2", "28.25", "BSD-3-Clause"] in columns


def test_a_training_starts_with_a_network(compose: Any, build: Any) -> None:
    name = require_network("realesr_animevideov3_x4")
    parts = dict.fromkeys(("loss", "optimizer", "schedule", "metric"))
    module = CNN(net=build.build_part(compose.net("srvgg", 4, 3), "model.net"), color="rgb", ema=None, **parts)
    initialize_weights(module, name)
    for key, value in load_checkpoint(name).net.state_dict().items():
        torch.testing.assert_close(module.net.state_dict()[key], value)
    with pytest.raises(
        UserError, match=r"^model\.init=realesrgan_x4: there is no such file, and no network of this name\."
    ):
        initialize_weights(module, "realesrgan_x4")


def test_a_comparison_finds_the_weights_of_a_network() -> None:
    name = require_network("realesr_animevideov3_x4")
    run, score = SimpleNamespace(checkpoint=name, folder=None), SimpleNamespace(folder=None)
    assert list_checkpoint_files(run, score) == [NETWORKS[name].find_file()]


def test_a_network_is_evaluated_applied_and_interpolated_by_its_name(
    sr: Callable[..., Answer], world: Path, tmp_path: Path
) -> None:
    name = require_network("realesr_animevideov3_x4")
    words = (*EVALUATE, f"paths.data={world}", f"checkpoint={name}")
    interpolate = (f"interpolate={name}", "alpha=0.5")
    for more in ((), interpolate):
        answer = sr("evaluate", *words, *more)
        assert answer.code == 0, answer.err
    photo = f"input={world}/photos/p0.png"
    answer = sr("predict", photo, "output=large.png", f"checkpoint={name}", *interpolate, "device=cpu")
    assert answer.code == 0, answer.err
    assert Path("large.png").exists()
    files = [json.loads(file.read_text()) for file in (tmp_path / "runs").glob("*/summary.json")]
    assert {file["net"].partition(" at ")[0] for file in files} == {name}
    sha256 = "548a36f9"  # of the file REALESRGAN_ANIMAVIDEOV3_UP4X.bin
    assert [(file["checkpoint"], file["checkpoint_sha256"][:8]) for file in files] == 2 * [(name, sha256)]
    used = next((tmp_path / "runs").glob("*/data.json")).read_text()
    assert all(f'REALESRGAN_ANIMAVIDEOV3_UP4X.{suffix}": "' in used for suffix in ("bin", "param"))  # with its digest
    results = [read_set_results(file)["Set5"] for file in (tmp_path / "runs").glob("*/evaluate.json")]
    assert results[0].metrics == pytest.approx(results[1].metrics, abs=1e-4)


@pytest.mark.slow
def test_the_psnr_of_a_card_is_what_evaluate_measures(sr: Callable[..., Answer], sr_data: Path, tmp_path: Path) -> None:
    """The other cards of `sr[pretrained]` were measured by the same command."""
    name = require_network("realesr_animevideov3_x4")
    answer = sr("evaluate", *EVALUATE, f"paths.data={sr_data}", f"checkpoint={name}")
    assert answer.code == 0, answer.err
    result = read_set_results(next((tmp_path / "runs").glob("*/evaluate.json")))["Set5"]
    assert round(result.metrics["psnr"], 2) == NETWORKS[name].psnr["Set5"] == 28.25
