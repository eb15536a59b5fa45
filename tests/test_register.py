"""`sr.register`: versions of a model in MLflow, the alias of the best one, and `checkpoint=models:/…`."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import wait_for, write_image
from documents import ROOT, list_blocks
from made_up_runs import make_training
from mlflow import MlflowClient
from PIL import Image
from sender_thread import copy_database
from test_interpolate import PLAIN, WORDS, net, save_checkpoint

from sr.checkpoint.load import load_checkpoint
from sr.comparison.collect import RunCollector
from sr.comparison.method import list_evaluation_options
from sr.pretrained.weight_file import compute_weights_sha256
from sr.record.identity import read_identity
from sr.record.journal_format import append_entries, current_time_ms
from sr.registration.decision import decide
from sr.registration.registration import check_names
from sr.runtime.error import UserError
from sr.track.local_server import LocalServer
from sr.track.run_address import is_address, parse_model

STORED = ("config.yaml", "choices.yaml", "summary.json", "per_image.json", "data.json")


def make_values(gain: float, noise: float = 0.0, names: tuple[str, ...] = ("Set14",)) -> dict[str, dict[str, float]]:
    """Return the PSNR of 14 images of each set: `gain` dB above that of the first version, give or take `noise`."""
    spread = np.random.default_rng(int(1000 * abs(gain))).normal(0, noise, 14) if noise else np.zeros(14)
    return {name: {f"i{k}": 30.0 + k / 3 + gain + float(spread[k]) for k in range(14)} for name in names}


def make_run(runs: Path, name: str, values: Mapping[str, Any], seed: int, **options: Any) -> Path:
    """Write the folder of a finished run, with a checkpoint of its own and a journal that waits to be sent."""
    folder = make_training(runs, name, values, seed=seed, **options)
    save_checkpoint(folder / "best.ckpt", seed=seed)
    summary = json.loads((folder / "summary.json").read_text())
    summary["checkpoint_sha256"] = compute_weights_sha256(folder / "best.ckpt")
    (folder / "summary.json").write_text(json.dumps(summary))
    tags = {"sr.id": read_identity(folder).id, "sr.folder": str(folder), "sr.verb": "run"}
    opening = {"id": tags["sr.id"], "title": name, "experiment": "sr", "tags": tags, "params": {}}
    entries = [{"open": opening, "time": current_time_ms()}, *({"file": file, "to": ""} for file in STORED)]
    (folder / "journal.jsonl").touch()
    append_entries(folder / "journal.jsonl", [*entries, {"status": "FINISHED", "time": current_time_ms()}])
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    copy_database(tmp_path / "runs" / "mlflow.db")
    return tmp_path / "runs"


def find_champion(runs: Path, name: str = "sr") -> str:
    return str(MlflowClient(f"sqlite:///{runs}/mlflow.db").get_model_version_by_alias(name, "champion").version)


def test_addresses() -> None:
    assert parse_model("models:/sr@champion") == ("sr", "champion", None)
    assert parse_model("models:/my net@a@b-1") == ("my net@a", "b-1", None)
    assert parse_model("models:/sr/3") == ("sr", None, "3")
    assert parse_model("runs/a/best.ckpt") is None
    assert is_address("mlflow:abc") and is_address("models:/a/1") and not is_address("models/a")


@pytest.mark.parametrize("word", [
    "models:/sr", "models:/", "models:/sr@", "models:/sr/latest", "models:/../../etc/passwd", "models:/a/b/3", "models:/a\n@b",
    "models:/sr/99999999999999", "models:/sr@cham%pion", "models://sr@x", "models:/sr/3/../../x",
])  # fmt: skip
def test_a_mistyped_address_says_what_was_expected(word: str) -> None:
    with pytest.raises(UserError, match=re.escape(f"init={word}: expected models:/NAME@ALIAS or models:/NAME/VERSION")):
        parse_model(word, "init")


@pytest.mark.parametrize(("name", "alias", "message"), [
    ("../sr", "champion", "name=../sr: expected letters"),
    ("s%2fr", "champion", "name=s%2fr: expected letters"),
    ("sr@x", "champion", "name=sr@x: expected letters"),
    ("-sr", "champion", "name=-sr: expected letters"),
    ("sr", "a/b", "alias=a/b: expected letters"),
    ("sr", "v3", "alias=v3: expected a name that MLflow does not reserve"),
    ("sr", "Latest", "alias=Latest: expected a name that MLflow does not reserve"),
])  # fmt: skip
def test_names_that_no_address_can_hold(name: str, alias: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        check_names(name, alias)


def decide_between(
    tmp_path: Path, new: Mapping[str, Any], old: Mapping[str, Any], **options: Any
) -> tuple[bool, list[str]]:
    """Decide between two made-up runs that differ in nothing but the seed: `sr.compare` has them in one group."""
    collector = RunCollector(tmp_path, f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "downloads")
    runs = [make_training(tmp_path, name, part, seed=k) for k, (name, part) in enumerate({"a": new, "b": old}.items())]
    first, second = collector.collect(list(map(str, runs)))
    return decide(first, second, options.get("metric", "psnr"), options.get("sets"))


def test_a_real_difference_decides(tmp_path: Path) -> None:
    is_better, sentences = decide_between(tmp_path, make_values(0.2, 0.05), make_values(0.0))
    assert is_better
    assert re.match(r"PSNR: the new version is better by 0\.\d+ dB \[.*\] on Set14 ×2 \(n = 14", sentences[0])


def test_noise_does_not_decide(tmp_path: Path) -> None:
    is_better, sentences = decide_between(tmp_path, make_values(0.01, 0.2), make_values(0.0))
    assert not is_better
    assert "not distinguishable" in sentences[0]


def test_a_better_champion_stays(tmp_path: Path) -> None:
    is_better, sentences = decide_between(tmp_path, make_values(-0.2, 0.05), make_values(0.0))
    assert not is_better
    assert sentences[0].startswith("PSNR: the champion is better by")


def test_better_on_one_set_and_worse_on_another_is_not_better(tmp_path: Path) -> None:
    new = make_values(0.2, 0.05) | make_values(-0.1, 0.02, ("BSD100",))
    old = make_values(0.0, 0.0, ("Set14", "BSD100"))
    is_better, sentences = decide_between(tmp_path, new, old)
    assert not is_better
    assert len(sentences) == 2


def test_the_sets_that_decide_can_be_named(tmp_path: Path) -> None:
    new = make_values(0.2, 0.05) | make_values(-0.1, 0.02, ("BSD100",))
    old = make_values(0.0, 0.0, ("Set14", "BSD100"))
    assert decide_between(tmp_path, new, old, sets=["Set14"])[0]


def test_results_on_other_sets_are_no_comparison(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"\(new: Set14 ×2 edsr; champion: BSD100 ×2 edsr\)"):
        decide_between(tmp_path, make_values(1.0), make_values(0.0, names=("BSD100",)))


def test_an_evaluation_of_a_version_counts_as_one_of_its_best_checkpoint() -> None:
    for checkpoint in ("models:/sr@champion", "models:/sr/3", "mlflow:0123456789abcdef", "runs/a/best.ckpt"):
        assert list_evaluation_options({"ensemble": False}, checkpoint) == {}
    assert list_evaluation_options({"tile": 64}, "runs/a/last.ckpt") == {"tile": "64", "checkpoint": "last.ckpt"}


@pytest.mark.slow(6)
def test_the_champion_moves_only_to_a_better_version(sr: Callable, runs: Path) -> None:
    first, equal, better = (
        make_run(runs, name, make_values(gain, noise), seed)
        for seed, (name, gain, noise) in enumerate([("a", 0.0, 0.0), ("b", 0.01, 0.2), ("c", 0.3, 0.05)])
    )
    answer = sr("register", str(first))
    assert answer.code == 0, answer.err
    assert "champion    points to version 1: it is the first" in answer.out
    answer = sr("register", str(equal))
    assert answer.code == 0, answer.err
    assert "not distinguishable" in answer.out
    assert "champion    stays version 1: version 2 is not better by monitor=psnr; force=true moves it" in answer.out
    assert find_champion(runs) == "1"
    answer = sr("register", str(better))
    assert "compared    PSNR: the new version is better by 0." in answer.out
    assert "champion    moved from version 1 to version 3" in answer.out
    assert find_champion(runs) == "3"
    answer = sr("register", str(equal), "force=true")  # the same weights are no further version
    assert "version     2 of sr has these weights already" in answer.out
    assert find_champion(runs) == "2"
    assert len(MlflowClient(f"sqlite:///{runs}/mlflow.db").search_model_versions("name='sr'")) == 3


@pytest.mark.slow(3)
def test_a_version_has_its_numbers_and_says_where_it_comes_from(sr: Callable, runs: Path) -> None:
    folder = make_run(runs, "a", make_values(0.0), 0)
    assert sr("register", str(folder), "license=cc-by-4.0", "name=mine").code == 0
    client = MlflowClient(f"sqlite:///{runs}/mlflow.db")
    version = client.get_model_version("mine", "1")
    summary = json.loads((folder / "summary.json").read_text())
    assert version.run_id == read_identity(folder).run_id
    assert client.get_run(version.run_id).data.tags["sr.folder"] == str(folder)
    mean = np.mean(list(make_values(0.0)["Set14"].values()))
    assert float(version.tags["test/Set14 x2 edsr/psnr"]) == pytest.approx(mean, abs=1e-3)
    assert {version.tags[f"sr.{key}"] for key in ("net", "scale", "color", "license")} >= {"2", "rgb", "cc-by-4.0"}
    assert version.tags["sr.checkpoint_sha256"] == summary["checkpoint_sha256"]
    assert f"| Set14 | PSNR | {mean:.2f} dB |" in version.description
    files = [path for path in (runs / "mlartifacts" / "models").rglob("*") if path.is_file()]
    assert not [path for path in files if path.suffix in (".pkl", ".pickle")]
    (model,) = (path for path in files if path.name == "MLmodel")
    assert "loader_module: mlflow.pyfunc.loaders.code_model" in model.read_text()
    (stored,) = (path for path in files if path.name == "best.ckpt")
    stored.write_bytes(stored.read_bytes() + b"x")
    write_image(Path("photo.png"), 24, 28)
    answer = sr("predict", "checkpoint=models:/mine/1", "input=photo.png")
    assert answer.code == 2
    assert "checkpoint=models:/mine/1: expected the best.ckpt that was registered" in answer.err


@pytest.mark.slow(2)
def test_without_results_it_says_how_to_make_them(sr: Callable, runs: Path) -> None:
    folder = make_run(runs, "a", {}, 0)
    answer = sr("register", str(folder))
    assert answer.code == 2
    assert "python -m sr.evaluate checkpoint=" in answer.err
    answer = sr("register", str(make_run(runs, "b", make_values(0.0), 1)), "monitor=pnsr")
    assert "monitor=pnsr: expected a metric of run=" in answer.err
    assert 'Did you mean "psnr"?' in answer.err
    answer = sr("register", str(runs / "b"), "sets=[BSD100]")
    assert "data.test=[BSD100] makes them" in answer.err
    assert not MlflowClient(f"sqlite:///{runs}/mlflow.db").search_registered_models()
    assert not list(runs.glob("mlartifacts/models/*"))


@pytest.mark.slow(2)
def test_a_checkpoint_that_has_changed_since_its_test_is_refused(sr: Callable, runs: Path) -> None:
    folder = make_run(runs, "a", make_values(0.0), 0)
    save_checkpoint(folder / "best.ckpt", seed=5)
    answer = sr("register", str(folder))
    assert answer.code == 2
    assert f"{folder}/best.ckpt has changed since); evaluate it" in answer.err


@pytest.mark.slow(1)
def test_a_server_that_does_not_answer_is_named_in_one_line(sr: Callable, runs: Path) -> None:
    folder = make_run(runs, "a", make_values(0.0), 0)
    uri = "http://me:secret@127.0.0.1:9"
    write_image(Path("photo.png"), 24, 28)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        answers = [sr("register", str(folder)), sr("predict", "checkpoint=models:/sr@champion", "input=photo.png")]
    for answer in answers:
        assert answer.code == 2
        assert "http://127.0.0.1:9" in answer.err
        assert "Traceback" not in answer.err
        assert "secret" not in answer.err
    answer = sr("predict", "checkpoint=models:/rs@champion", "input=photo.png")
    assert "checkpoint=models:/rs@champion: expected a registered model of" in answer.err


@pytest.mark.slow(12)
def test_every_command_takes_a_version_from_the_server_alone(sr: Callable, world: Path, tmp_path: Path) -> None:
    """After the folder of its run was deleted."""
    runs = tmp_path / "runs"
    folder = make_run(runs, "a", make_values(0.0), 0)
    write_image(Path("photo.png"), 24, 28)
    common = ("input=photo.png", "device=cpu")
    assert sr("predict", f"checkpoint={folder}/best.ckpt", "output=before.png", *common).code == 0
    with LocalServer() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", server.uri)
        answer = sr("register", str(folder))
        assert answer.code == 0, answer.err
        assert f"{server.uri}/#/models/sr/versions/1" in answer.out
        shutil.rmtree(runs)
        better = make_run(runs, "b", make_values(0.3, 0.05), 1)
        answer = sr("register", str(better))  # the champion's results come from the server, too
        assert answer.code == 0, answer.err
        assert "moved from version 1 to version 2" in answer.out
        shutil.rmtree(runs)
        first = "checkpoint=models:/sr/1"
        for command in (
            ("compare", "models:/sr/1", "models:/sr@champion", "track=none", "images=0"),
            ("predict", first, "output=after.png", *common),
            ("predict", "checkpoint=models:/sr@champion", "output=champion.png", *common),
            ("evaluate", first, "data.test=[Set5]", f"paths.data={world}", "metric/also=[]", "track=none"),
            ("export", first, "exporter=safetensors", "output=exported"),
            ("run", *WORDS, f"data.path={world}/photos", "model.init=models:/sr@champion", "paths.runs=trained"),
        ):
            answer = sr(*command)
            assert answer.code == 0, answer.err
    (trained,) = Path("trained").glob("*/last.ckpt")
    weights = load_checkpoint(trained).net.state_dict()
    assert all(torch.allclose(weights[key], value) for key, value in net(PLAIN, 1).state_dict().items())
    assert "\nversions:\n  model.init: models:/sr/2\n" in (trained.parent / "environment.yaml").read_text()
    assert Path("exported", "sr_1.safetensors").exists()
    assert Path("after.png").read_bytes() == Path("before.png").read_bytes()
    assert Path("champion.png").read_bytes() != Path("before.png").read_bytes()


@pytest.mark.slow(25)
def test_mlflow_serves_the_pixels_of_sr_predict(sr: Callable, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the commands of docs/deploy.md."""
    folder = make_run(runs, "a", make_values(0.0), 0)
    assert sr("register", str(folder)).code == 0
    write_image(Path("photo.jpg"), 24, 28)
    assert (
        sr("predict", "checkpoint=models:/sr@champion", "input=photo.jpg", "output=expected.png", "device=cpu").code
        == 0
    )
    blocks = [block for block in list_blocks([ROOT / "docs" / "deploy.md"]) if "5001" in block.text]
    port = str(find_port())
    shell, client = (block.text.replace("5001", port) for block in blocks)
    Path(".venv").symlink_to(Path(sys.executable).parents[1])
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    process = subprocess.Popen(["bash", "-c", shell], start_new_session=True)
    try:
        address = re.search(r"http://[\d.:]+", client)[0]
        wait_for(lambda: is_answering(f"{address}/ping"))
        exec(client, {})
        with pytest.raises(urllib.error.HTTPError) as refusal:
            exec(client.replace('"inputs": [image]', '"inputs": ["bm8gaW1hZ2U="]'), {})
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
    with Image.open("large.png") as result, Image.open("expected.png") as expected:
        assert result.tobytes() == expected.tobytes()
    answer = refusal.value.read().decode()
    assert refusal.value.code == 400
    assert "image 1: this is not an image" in answer
    assert "Traceback" not in answer and "stack_trace" not in answer and str(Path.cwd()) not in answer


def find_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_answering(address: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=5) as response:
        return response.status == 200
    return False
