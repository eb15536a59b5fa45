"""`interpolate=` and `alpha=`: the weights between those of two nets."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Answer, write_image
from PIL import Image
from torch import nn

from sr.checkpoint.interpolate import check_options, interpolate_weights
from sr.checkpoint.load import KEY, LoadedNet, load_checkpoint
from sr.data.leak import Leak
from sr.net.plain import Plain
from sr.net.srresnet import SRResNet
from sr.record.result import read_set_results
from sr.runtime.error import UserError


def node(kind: str = "plain.Plain", **options: Any) -> dict[str, Any]:
    return {"_target_": f"sr.net.{kind}", "scale": 2, "channels": 3, "width": 4, **options}


WORDS = (
    "data=folder", "data.patch=32", "data.batch=2", "trainer.accelerator=cpu", "track=none", "trainer.max_steps=1",
    "stages=[fit]", "model/net=plain", "model.net.width=4", "model.net.depth=2", "model.optimizer.lr=0",
)  # fmt: skip
PLAIN, RESNET = node(depth=2), node("srresnet.SRResNet", blocks=1)


def net(config: dict[str, Any], seed: int) -> nn.Module:
    """Return a net with random weights and, if it has batch norm, with statistics."""
    torch.manual_seed(seed)
    options = {key: value for key, value in config.items() if key != "_target_"}
    made = (Plain if config["_target_"].endswith("Plain") else SRResNet)(**options)
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.1)
    for _ in range(1 + seed):
        made(torch.rand(2, options["channels"], 8, 8))
    return made.eval()


def save_checkpoint(
    path: Path, config: dict[str, Any] = PLAIN, seed: int = 0, color: str = "rgb", prefix: str = "net."
) -> Path:
    """Write a checkpoint like that of a run, and return its path."""
    trained = {"config": {"scale": config["scale"], "color": color, "model": {"net": config}}, "metrics": {}}
    trained["leaks"] = [list(Leak("a", "Set5", f"b{seed}", "bits"))]
    state = {f"{prefix}{key}": value for key, value in net(config, seed).state_dict().items()}
    torch.save({"state_dict": state, "global_step": 7, KEY: trained}, path)
    return path


def interpolate(folder: Path, alpha: float, config: dict[str, Any] = PLAIN) -> LoadedNet:
    """Interpolate between two nets of seeds 1 (the checkpoint) and 2."""
    loaded = load_checkpoint(save_checkpoint(folder / "gan.ckpt", config, 1))
    return interpolate_weights(loaded, save_checkpoint(folder / "cnn.ckpt", config, 2), alpha)


@pytest.mark.parametrize("config", [PLAIN, RESNET])
def test_alpha_0_and_1_are_the_two_nets_and_a_half_is_their_mean(tmp_path: Path, config: dict[str, Any]) -> None:
    """Running means of a batch norm are interpolated; its count of batches is the checkpoint's."""
    lr = torch.rand(1, 3, 9, 7)
    gan, cnn = net(config, 1), net(config, 2)
    for alpha, expected in ((1, gan), (1.0, gan), (0, cnn)):
        assert torch.equal(interpolate(tmp_path, alpha, config).net(lr), expected(lr))
    middle = interpolate(tmp_path, 0.5, config).net.state_dict()
    for name, value in gan.state_dict().items():
        whole = not value.is_floating_point()
        torch.testing.assert_close(middle[name], value if whole else (value + cnn.state_dict()[name]) / 2)
    quarter = interpolate(tmp_path, 0.25, config).net.state_dict()
    name = "body.0.weight" if config is PLAIN else "head.0.weight"
    torch.testing.assert_close(quarter[name], 0.25 * gan.state_dict()[name] + 0.75 * cnn.state_dict()[name])


def test_interpolated_net_has_no_metrics_but_the_leaks_of_both(tmp_path: Path) -> None:
    loaded = interpolate(tmp_path, 0.5)
    assert (loaded.metrics, loaded.step) == ({}, 0)
    assert [leak.image for leak in loaded.leaks] == ["b1", "b2"]


@pytest.mark.slow
def test_published_file_and_checkpoint_interpolate_in_either_order(tmp_path: Path) -> None:
    from sr.checkpoint import architecture
    from sr.config.build import build_part

    config = architecture.compose_net_config("fsrcnn", 2, 1)
    torch.manual_seed(0)
    theirs, ours = (build_part(config, "model.net").state_dict() for _ in range(2))
    torch.save({"params": theirs}, tmp_path / "theirs.pth")
    trained = {"config": {"scale": 2, "color": "y", "model": {"net": config}}, "metrics": {}}
    state = {f"net.{key}": value for key, value in ours.items()}
    torch.save({"state_dict": state, "global_step": 7, KEY: trained}, tmp_path / "ours.ckpt")
    for one, other, alpha in (("theirs.pth", "ours.ckpt", 0.25), ("ours.ckpt", "theirs.pth", 0.75)):
        result = interpolate_weights(load_checkpoint(tmp_path / one, scale=2), tmp_path / other, alpha).net.state_dict()
        for name, value in result.items():
            torch.testing.assert_close(value, 0.25 * theirs[name] + 0.75 * ours[name])


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"config": node(depth=3)}, r"interpolate=\S+ holds another net \(depth: 3 and 2\)"),
        ({"config": RESNET}, r"class: sr.net.srresnet.SRResNet and sr.net.plain.Plain"),
        ({"config": node(depth=2) | {"scale": 4}}, r"scale=2: interpolate=\S+ is for scale=4"),
        ({"config": node(depth=2) | {"channels": 1}, "color": "y"}, r"interpolate=\S+ is of color=y"),
    ],
)
def test_another_net_is_an_error_that_names_the_differences(tmp_path: Path, other: dict[str, Any], said: str) -> None:
    loaded = load_checkpoint(save_checkpoint(tmp_path / "gan.ckpt"))
    with pytest.raises(UserError, match=said):
        interpolate_weights(loaded, save_checkpoint(tmp_path / "other.ckpt", **other), 0.5)


def test_predict_upscales_with_the_interpolated_net(tmp_path: Path, sr: Callable[..., Answer]) -> None:
    gan, cnn = save_checkpoint(tmp_path / "gan.ckpt", seed=1), save_checkpoint(tmp_path / "a cnn.ckpt", seed=2)
    source = write_image(tmp_path / "a.png", 12, 10)
    made = {}
    for name, words in {
        "cnn": (f"checkpoint={cnn}",),
        "zero": (f"checkpoint={gan}", f"interpolate={cnn}", "alpha=0"),
        "half": (f"checkpoint={gan}", f"interpolate={cnn}", "alpha=0.5"),
    }.items():
        answer = sr("predict", *words, f"input={source}", f"output={tmp_path / name}", "device=cpu")
        assert answer.code == 0, answer.err
        assert (f"between interpolate={cnn} and checkpoint={gan}" in answer.out) == (name != "cnn")
        assert name == "cnn" or f"alpha={words[-1].partition('=')[2]}" in answer.out
        with Image.open(tmp_path / name / "a_x2.png") as image:
            made[name] = np.array(image)
    assert (made["zero"] == made["cnn"]).all()
    assert (made["half"] != made["cnn"]).any()


@pytest.mark.slow
def test_sweep_over_alpha_evaluates_each_and_stores_both_files(
    tmp_path: Path, sr: Callable[..., Answer], world: Path
) -> None:
    gan, cnn = save_checkpoint(tmp_path / "gan.ckpt", seed=1), save_checkpoint(tmp_path / "cnn.ckpt", seed=2)
    words = (
        f"checkpoint={gan}",
        "data.test=[Set5]",
        f"paths.data={world}",
        "metric/also=[]",
        "device=cpu",
        "track=none",
    )
    answer = sr("evaluate", "-m", f"interpolate={cnn}", "alpha=0,0.5,1", *words)
    assert answer.code == 0, answer.err
    assert answer.out.count(f"finished: Plain at alpha=0.5 between interpolate={cnn} and checkpoint={gan} ×2") == 1
    assert sr("evaluate", *words).code == 0
    psnr = {}
    for file in tmp_path.glob("runs/*/evaluate.json"):
        result = read_set_results(file)["Set5"]
        summary = json.loads(file.with_name("summary.json").read_text())
        named = result.interpolated
        alpha = named and named.pop("alpha")
        assert named in (None, {"checkpoint": str(gan), "interpolate": str(cnn)})
        assert (summary["interpolate"], summary["alpha"]) == (str(cnn) if named else None, alpha)
        assert (f"alpha={alpha}" in summary["net"]) == (named is not None)
        psnr[alpha] = result.metrics["psnr"]
    assert set(psnr) == {None, 0, 0.5, 1}
    assert psnr[1] == psnr[None]
    assert len({psnr[0], psnr[0.5], psnr[1]}) == 3


@pytest.mark.long
def test_tracked_run_is_interpolated_by_its_id_and_both_are_tags(
    tmp_path: Path, sr: Callable[..., Answer], world: Path
) -> None:
    from mlflow import MlflowClient

    trained = {"track": "mlflow", "data.path": f"{world}/photos", "data.val": "[]", "data.test": "[]"}
    assert sr("run", *WORDS, *(f"{key}={value}" for key, value in trained.items())).code == 0
    (summary,) = tmp_path.glob("runs/*/summary.json")
    cnn, gan = f"mlflow:{json.loads(summary.read_text())['run_id']}", save_checkpoint(tmp_path / "gan.ckpt")
    options = ("data.test=[Set5]", f"paths.data={world}", "metric/also=[]", "device=cpu")
    answer = sr("evaluate", f"checkpoint={gan}", f"interpolate={cnn}", "alpha=0", *options)
    assert answer.code == 0, answer.err
    found = MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db").search_runs(["1"], "tags.`sr.verb` = 'evaluate'")
    assert [found[0].data.tags[f"sr.{key}"] for key in ("checkpoint", "interpolate", "alpha")] == [str(gan), cnn, "0"]
    answer = sr("evaluate", f"checkpoint={gan}", "interpolate=mlflow:none", "alpha=0", *options)
    assert "interpolate=mlflow:none: no finished run of that id" in answer.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"alpha": 0.5}, "alpha=0.5: expected the other checkpoint as well, interpolate=FILE"),
        ({"interpolate": "b"}, "interpolate=b: expected alpha=0.8 as well"),
        ({"interpolate": "b", "alpha": 1.2}, "alpha=1.2: expected a number from 0"),
        ({"interpolate": "b", "alpha": -1}, "alpha=-1: expected a number from 0"),
        ({"interpolate": "b", "alpha": float("nan")}, "alpha=nan: expected a number from 0"),
        ({"interpolate": "b", "alpha": "much"}, "alpha=much: expected a number from 0"),
        ({"interpolate": "b", "alpha": True}, "alpha=True: expected a number from 0"),
        ({"interpolate": "b", "alpha": 0.5, "checkpoint": None}, "with as well, checkpoint=FILE"),
    ],
)
def test_options_that_do_not_fit_together_are_an_error(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        check_options({"checkpoint": "a", "interpolate": None, "alpha": None} | options)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("predict", "checkpoint=a", "alpha=0", "interpolate=mlflow:b", "input=x", "output=y"), "interpolate=mlflow:b: "),
        (("evaluate", "images=.", "scale=2", "interpolate=b", "alpha=1"), "result images are evaluated as they are; leave inter"),
        (("evaluate", "checkpoint=.", "interpolate=b", "alpha=1"), "interpolate=b: there is no such file"),
    ],
)  # fmt: skip
def test_errors_of_both_commands_name_the_option_of_the_user(
    sr: Callable[..., Answer], words: tuple[str, ...], said: str
) -> None:
    answer = sr(*words)
    assert answer.code == 2
    assert said in answer.err
