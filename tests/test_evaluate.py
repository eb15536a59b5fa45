"""`sr.evaluate` as a user types it: the numbers, their references, and the errors."""

import hashlib
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import write_image
from PIL import Image

from sr.record.result import SetResult, read_set_results

pytestmark = pytest.mark.usefixtures("sender_thread")
QUICK = ("track=none", "metric/also=[]")


def find_report(folder: Path, part: str = "evaluate") -> Path:
    """Return the newest `evaluate.json`."""
    return max(folder.glob(f"runs/*{part}*/evaluate.json"), key=lambda file: file.stat().st_mtime)


def read_results(folder: Path, part: str = "evaluate") -> dict[str, SetResult]:
    """Return the results in the newest `evaluate.json`."""
    return read_set_results(find_report(folder, part))


@pytest.fixture
def trained_run(sr: Callable, world: Path, tmp_path: Path) -> Path:
    """A run of two steps that was tested on Set5; its folder."""
    words = ("data=folder", f"data.path={world}/photos", "data.patch=32", "data.batch=4", "data.test=[Set5]")
    answer = sr("run", *words, f"paths.data={world}", "trainer.max_steps=2")
    assert answer.code == 0, answer.err
    (summary,) = (tmp_path / "runs").glob("*/summary.json")
    return summary.parent


def test_bicubic_is_its_own_baseline(sr: Callable, world: Path, tmp_path: Path) -> None:
    words = ("model/net=bicubic", "scale=2", "data.test=[Set5]", f"paths.data={world}", "track=none")
    answer = sr("evaluate", *words, "metric/also=[ms_ssim]")
    assert answer.code == 0, answer.err
    result = read_results(tmp_path)["Set5"]
    assert result.count == 4
    assert result.metrics["psnr"] == result.bicubic["psnr"]
    assert result.protocol["protocol"] == "edsr"
    assert result.protocol["lr"] == "Bicubic(scale=2, border=mirror)"
    assert set(result.per_image) == {"s0", "s1", "s2", "s3"}
    assert math.isnan(result.per_image["s0"]["ms_ssim"])  # 48×56 is too small for it
    assert "Set5" in answer.out
    assert "ms/image of the metrics, for the result and bicubic interpolation: psnr" in answer.out
    assert set(result.metrics_ms) == {"psnr", "ssim", "ms_ssim"}
    assert min(result.metrics_ms.values()) > 0
    assert "parameters" not in answer.out  # it has none


@pytest.mark.slow(2)
def test_training_and_evaluation_give_the_same_number(
    sr: Callable, trained_run: Path, world: Path, tmp_path: Path
) -> None:
    """It is the same from the file, from the tracked run, and from the images that sr.predict wrote."""
    summary = json.loads((trained_run / "summary.json").read_text())
    expected = [summary["metrics"][f"test/Set5/{name}"] for name in ("psnr", "ssim")]
    common = ("data.test=[Set5]", f"paths.data={world}")
    for source in (trained_run / "best.ckpt", f"mlflow:{summary['run_id']}"):
        answer = sr("evaluate", f"checkpoint={source}", *common, "metric/also=[]")
        assert answer.code == 0, answer.err
        assert "Downloading" not in answer.err  # MLflow's bars of small files
        result = read_results(tmp_path)["Set5"]
        assert [result.metrics["psnr"], result.metrics["ssim"]] == pytest.approx(expected, abs=1e-6)

    digest = hashlib.sha256((trained_run / "best.ckpt").read_bytes()).hexdigest()
    stored = [json.loads(file.read_text())["checkpoint_sha256"] for file in tmp_path.glob("runs/*/summary.json")]
    assert {digest, summary["checkpoint_sha256"]} == set(stored) == {digest}

    lr = tmp_path / "lr"
    lr.mkdir()
    from sr.degrade.bicubic import Bicubic
    from sr.image.read import read_rgb
    from sr.image.write import to_pil, write_png

    for file in (world / "Set5" / "HR").glob("*.png"):
        write_png(lr / file.name, to_pil(Bicubic(2)(read_rgb(file)[None])[0]))
    assert sr("predict", f"checkpoint={trained_run}/best.ckpt", f"input={lr}", "output=large").code == 0
    answer = sr("evaluate", "images=large", "scale=2", *common, *QUICK)
    assert answer.code == 0, answer.err
    result = read_results(tmp_path, "images")["Set5"]
    assert [result.metrics["psnr"], result.metrics["ssim"]] == pytest.approx(expected, abs=1e-6)
    assert "parameters" not in answer.out


def test_the_run_in_mlflow(sr: Callable, world: Path, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    words = ("model/net=bicubic", "scale=2", "data.test=[Set5]", f"paths.data={world}", "metric/also=[lr_psnr]")
    assert sr("evaluate", *words).code == 0
    client = MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db")
    (run,) = client.search_runs(["1"])
    assert run.info.status == "FINISHED"
    assert run.data.tags["sr.verb"] == "evaluate"
    assert run.data.tags["sr.protocol"] == "edsr"
    column = "test/Set5 x2 edsr"  # all runs share a tracker's columns, so that what differs has a column of its own
    assert {f"{column}/{name}" for name in ("psnr", "ssim", "lr_psnr", "psnr_bicubic")} <= set(run.data.metrics)
    assert sr("evaluate", *words, "metric=vdsr", "data.degrade.border=replicate").code == 0
    other = client.search_runs(["1"], order_by=["start_time DESC"])[0]
    measured = {key for key in other.data.metrics if key.endswith("/psnr")}
    assert measured == {"test/Set5 x2 vdsr Bicubic-scale-2-border-replicate/psnr"}
    names = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {"evaluate.json", "summary.json", "config.yaml", "images"} <= names


@pytest.mark.parametrize("option", ["tile=null", "tile=16", "tile=1000"])
def test_numbers_of_tiles_say_so(
    sr: Callable, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    """Large images are tiled without the option as well: label, result, note and the published comparison carry it."""
    from sr.evaluation import published
    from sr.inference import tile

    row = published.PublishedRow("bicubic", 2, "Set5", 20.0, 0.9, "edsr", 0, "a paper")
    monkeypatch.setattr(published, "find_row", lambda *_: row)
    monkeypatch.setitem(published.SET_SIZES, "Set5", 4)
    if option == "tile=null":
        monkeypatch.setattr(tile, "MAX_UNTILED_PIXELS", 600)  # LR has 24×28
        monkeypatch.setattr(tile, "LARGE_IMAGE_TILE", 16)
    words = ("model/net=bicubic", "scale=2", "data.test=[Set5]", f"paths.data={world}")
    answer = sr("evaluate", *words, option, "track=journal", "metric/also=[]")
    assert answer.code == 0, answer.err
    result, summary = (
        read_results(tmp_path)["Set5"],
        json.loads(find_report(tmp_path).with_name("summary.json").read_text()),
    )
    is_tiled = option != "tile=1000"
    assert result.tile == (16 if is_tiled else None)
    assert f"finished: Bicubic{' in tiles of 16' * is_tiled} ×2, protocol edsr" in answer.out
    assert summary["net"] == f"Bicubic{' in tiles of 16' * is_tiled}"
    assert ("Set5: 4 of 4 images were evaluated in tiles of 16 LR pixels" in answer.out) == is_tiled
    assert (result.published.get("likely_cause", "").startswith("evaluated in tiles of 16, in the papers")) == is_tiled


def test_tiles_and_self_ensemble(sr: Callable, trained_run: Path, world: Path, tmp_path: Path) -> None:
    """Six 3×3 convolutions see six pixels far, within a tile's margin; the ensemble is another number, but of bicubic,
    which does not mind how it is turned."""
    common = (f"checkpoint={trained_run}/best.ckpt", "data.test=[Set5]", f"paths.data={world}", *QUICK)
    numbers = {}
    for option in ("tile=null", "tile=7", "ensemble=true"):
        assert sr("evaluate", *common, option).code == 0
        numbers[option] = read_results(tmp_path)["Set5"].metrics["psnr"]
    assert numbers["tile=7"] == pytest.approx(numbers["tile=null"], abs=0.02)
    assert numbers["ensemble=true"] != numbers["tile=null"]
    import torch

    from sr.inference.ensemble import apply_self_ensemble
    from sr.inference.upscale import upscale
    from sr.net.bicubic import BicubicNet
    from sr.net.rrdb import RRDBNet

    lr = torch.rand(1, 3, 9, 14, dtype=torch.float64)
    torch.testing.assert_close(apply_self_ensemble(BicubicNet(2), lr), BicubicNet(2)(lr))
    net, lr = RRDBNet(2, width=8, blocks=1, growth=4).eval(), torch.rand(1, 3, 50, 46)  # works on 2×2 cells
    with torch.no_grad():
        torch.testing.assert_close(upscale(net, lr, "rgb", tile=21), net(lr), rtol=0, atol=1e-3)


def test_results_of_two_protocols_are_never_compared(sr: Callable, world: Path, tmp_path: Path) -> None:
    common = ("model/net=bicubic", "scale=2", "data.test=[Set5]", f"paths.data={world}", *QUICK)
    assert sr("evaluate", *common).code == 0
    (before,) = (tmp_path / "runs").glob("*/evaluate.json")
    same = sr("evaluate", *common, f"against={before}")
    assert same.code == 0, same.err
    assert "compared with against" in same.out
    other = sr("evaluate", *common, "metric=ntire", f"against={before}")
    assert other.code == 2
    assert "channel: rgb here, y there" in other.err
    border = sr("evaluate", *common, "data.degrade.border=replicate", f"against={before}")
    assert border.code == 2
    assert "lr: Bicubic(scale=2, border=replicate) here" in border.err
    assert len(list((tmp_path / "runs").glob("*evaluate*"))) == 2  # refused before there was a run


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "expected one of checkpoint=FILE, images=FOLDER or model/net=bicubic"),
        (("model/net=bicubic",), "scale=…"),
        (("model/net=edsr", "scale=2"), "model/net=edsr: expected weights, for this net is not trained"),
        (("model/net=bicubic", "scale=2", "images=x"), "images="),
        (("model/net=bicubic", "scale=5"), "scale=5: expected one of 2, 3, 4, 8"),
        (("model/net=bicubic", "scale=2", "metric=vdsr", "color=rgb"), "color=y"),
        (("model/net=bicubic", "scale=2", "metric/also=[lpisp]"), 'Did you mean "lpips"'),
        (("model/net=bicubic", "scale=2", "published=IMDM"), 'Did you mean "IMDN"'),
        (("model/net=bicubic", "scale=2", "data.test=[Set6]"), "data.test=Set6"),
        (("model/net=bicubic", "scale=2", "data.test=Set5"), "data.test=[Set5]"),
        (("model/net=bicubic", "scale=2", "tile=0"), "tile=0"),
        (("checkpoint=none.pth",), "checkpoint=none.pth: there is no such file"),
        (("model/net=bicubic", "scale=2", "ensemble=flase"), "ensemble=flase: expected true or false"),
        (("model/net=bicubic", "scale=2", "metric.scale=3"), "metric.scale=3: all parts share this option"),
        (("model/net=bicubic", "scale=2", "data.color=gray"), "data.color=gray: all parts share this option"),
        (("model/net=bicubic", "scale=2", "data.test=[]"), "data.test=[]"),
        (("model/net=bicubic", "scale=2", "data.test=[set5]"), 'Did you mean "Set5"'),
        (
            ("images=.", "scale=2", "tile=8"),
            "images=.: result images are evaluated as they are; leave ensemble and tile out",
        ),
        (("checkpoint=mlflow:abc",), "checkpoint=mlflow:abc"),
        (("images=nowhere", "scale=2"), "images=nowhere: there is no such folder"),
    ],
)
def test_an_error_names_the_users_option(sr: Callable, world: Path, words: tuple[str, ...], said: str) -> None:
    typed = words if any(word.startswith("data.test") for word in words) else (*words, "data.test=[Set5]")
    answer = sr("evaluate", f"paths.data={world}", *typed)
    assert answer.code == 2
    assert said in answer.err
    assert "Traceback" not in answer.err


def test_all_missing_result_images_are_named(sr: Callable, world: Path, tmp_path: Path) -> None:
    for name in ("s0.png", "s1_x2.png", "s1_x2_other.png"):
        write_image(tmp_path / "results" / name)
    answer = sr("evaluate", "images=results", "scale=2", "data.test=[Set5]", f"paths.data={world}", *QUICK)
    assert answer.code == 2
    assert "3 of 4 images: s1 (s1_x2.png or s1_x2_other.png), s2, s3" in answer.err


def test_equal_images_have_an_infinite_psnr(sr: Callable, world: Path, tmp_path: Path) -> None:
    words = (f"images={world}/Set5/HR", "scale=2", "data.test=[Set5]", f"paths.data={world}", "metric/also=[]")
    for more in ((), (f"against={tmp_path}/first.json",)):
        answer = sr("evaluate", *words, *more)
        assert answer.code == 0, answer.err
        assert " inf " in answer.out
        assert read_results(tmp_path)["Set5"].metrics["psnr"] == math.inf
        shutil.copy(find_report(tmp_path), tmp_path / "first.json")


def test_a_result_belongs_to_one_image_only(sr: Callable, tmp_path: Path) -> None:
    """bird_2.png is the result of bird_2, and never taken for bird's."""
    for name in ("bird", "bird_2"):
        write_image(tmp_path / "data" / "Two" / "HR" / f"{name}.png", seed=len(name))
    write_image(tmp_path / "results" / "bird_2.png", seed=6)
    words = ("images=results", "scale=2", "data.test=[Two]", "paths.data=data", *QUICK)
    answer = sr("evaluate", *words)
    assert answer.code == 2
    assert "1 of 2 images: bird)" in answer.err
    write_image(tmp_path / "results" / "bird_x2.png", seed=4)
    assert sr("evaluate", *words).code == 0
    assert [v["psnr"] for v in read_results(tmp_path)["Two"].per_image.values()] == [math.inf, math.inf]


def test_sets_of_other_images_are_never_compared(sr: Callable, world: Path, tmp_path: Path) -> None:
    common = ("model/net=bicubic", "scale=2", "metric=vdsr", "data.test=[Set5]", *QUICK)
    answer = sr("evaluate", *common, f"paths.data={world}")
    assert "published values of bicubic are of other images" in answer.out  # this Set5 has four
    assert read_results(tmp_path)["Set5"].published is None
    (before,) = (tmp_path / "runs").glob("*/evaluate.json")
    shutil.copytree(world / "Set5" / "HR", tmp_path / "data" / "Set5" / "HR")
    (tmp_path / "data" / "Set5" / "HR" / "s0.png").rename(tmp_path / "data" / "Set5" / "HR" / "t0.png")
    answer = sr("evaluate", *common, "paths.data=data", f"against={before}")
    assert answer.code == 2
    assert "its Set5 has other images (2 differ: s0, t0)" in answer.err


@pytest.mark.parametrize("text", ["[]", '{"Set5": {"psnr": 3}}', "no", '{"Set5": 3}'])
def test_a_file_that_is_no_evaluation_is_refused(sr: Callable, world: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "other.json").write_text(text)
    words = ("model/net=bicubic", "scale=2", "data.test=[Set5]", f"paths.data={world}", *QUICK)
    answer = sr("evaluate", *words, "against=other.json")
    assert answer.code == 2
    assert "against=other.json" in answer.err


def test_two_images_of_one_stem_are_two(sr: Callable, tmp_path: Path) -> None:
    for name in ("a.png", "a.bmp", "b.png"):
        write_image(tmp_path / "data" / "Twins" / "HR" / name, seed=len(name))
    assert sr("evaluate", "model/net=bicubic", "scale=2", "data.test=[Twins]", "paths.data=data", *QUICK).code == 0
    assert set(read_results(tmp_path)["Twins"].per_image) == {"a.png", "a.bmp", "b"}


def test_a_damaged_image_of_a_set_is_found_before_anything_is_evaluated(
    sr: Callable, world: Path, tmp_path: Path
) -> None:
    shutil.copytree(world / "Set5", tmp_path / "data" / "Broken")
    file = tmp_path / "data" / "Broken" / "HR" / "s2.png"
    file.write_bytes(file.read_bytes()[:-200])
    answer = sr("evaluate", "model/net=bicubic", "scale=2", "data.test=[Broken]", "paths.data=data", *QUICK)
    assert answer.code == 2
    assert "Broken/HR/s2.png: this image is damaged" in answer.err
    assert not list(tmp_path.glob("runs/*evaluate*"))


def test_a_damaged_result_costs_no_finished_result(sr: Callable, world: Path, tmp_path: Path) -> None:
    for name in ("Set5", "Broken"):
        shutil.copytree(world / "Set5", tmp_path / "data" / name)
        shutil.copytree(world / "Set5" / "HR", tmp_path / "results" / name)
    file = tmp_path / "results" / "Broken" / "s2.png"
    file.write_bytes(file.read_bytes()[:-200])
    words = ("images=results", "scale=2", "data.test=[Set5,Broken]", "paths.data=data")
    answer = sr("evaluate", *words, *QUICK)
    assert answer.code == 2
    assert "Broken/s2.png: this image is damaged" in answer.err
    results = read_results(tmp_path)
    assert results["Set5"].count == 4
    assert (results["Broken"].is_unfinished, list(results["Broken"].per_image)) == (True, ["s0", "s1"])
    assert "failed: images" in answer.out
    assert "Broken: interrupted; the values of its first 2 images" in answer.out


def test_a_net_of_nan_gives_no_number_and_no_image(
    sr: Callable, trained_run: Path, world: Path, tmp_path: Path
) -> None:
    import torch

    content = torch.load(trained_run / "best.ckpt", weights_only=True)
    next(value for key, value in content["state_dict"].items() if key.startswith("ema.net.")).fill_(float("nan"))
    torch.save(content, tmp_path / "nan.ckpt")
    answer = sr("evaluate", "checkpoint=nan.ckpt", "data.test=[Set5]", f"paths.data={world}", *QUICK)
    assert answer.code == 2
    assert "Set5/s0: the net's output is NaN" in answer.err
    answer = sr("predict", "checkpoint=nan.ckpt", f"input={world}/small/p0x2.png", "output=large")
    assert answer.code == 2
    assert "p0x2.png: the net's output is NaN" in answer.err
    assert not list((tmp_path / "large").glob("*"))


def test_a_net_of_luma_alone(sr: Callable, world: Path, tmp_path: Path) -> None:
    """metric=vdsr: the rounded luma is degraded in float; a gray file is its own luma."""
    root = tmp_path / "data"
    (root / "Set5" / "HR").mkdir(parents=True)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 56), dtype=np.uint8))
    noise.save(root / "Set5" / "HR" / "gray.png")
    noise.convert("RGB").save(root / "Set5" / "HR" / "color.png")
    words = ("model/net=bicubic", "scale=2", "data.test=[Set5]", "paths.data=data", *QUICK)
    numbers = {}
    for metric in ("edsr", "vdsr"):
        assert sr("evaluate", *words, f"metric={metric}").code == 0
        numbers[metric] = {k: v["psnr"] for k, v in read_results(tmp_path)["Set5"].per_image.items()}
    assert numbers["edsr"]["gray"] - numbers["vdsr"]["gray"] == pytest.approx(1.32, abs=0.1)  # 219 levels or 255
    assert numbers["edsr"]["color"] == pytest.approx(numbers["vdsr"]["color"], abs=0.1)


@pytest.mark.slow
def test_published_values_are_compared(sr: Callable, sr_data: Path, tmp_path: Path) -> None:
    """IMDN ×4 on Set5, from its authors' file, to every published digit."""
    file = sr_data / "weights" / "IMDN" / "IMDN_x4.pth"
    answer = sr("evaluate", f"checkpoint={file}", "data.test=[Set5]", f"paths.data={sr_data}", *QUICK)
    assert answer.code == 0, answer.err
    result = read_results(tmp_path)["Set5"]
    assert (round(result.metrics["psnr"], 2), round(result.metrics["ssim"], 4)) == (32.21, 0.8948)
    assert result.published["model"] == "IMDN"
    assert (result.published["psnr"], result.published["ssim"]) == (32.21, 0.8948)
    assert "40.9 G" in answer.out  # the multiply-adds of IMDN's own table
