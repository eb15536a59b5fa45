"""Wrong input is answered with a message about what the user typed and exit code 2, never with a traceback."""

import re
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from conftest import write_image
from hydra._internal.hydra import Hydra
from PIL import Image

from sr.config.cli import find_conf_dir, run_command
from sr.config.suggestion import SYNONYMS, list_valid_keys, suggest_words

FAST = ("track=none", "trainer.max_steps=2", "trainer.accelerator=cpu")


def assert_refused(answer: Any, *words: str) -> None:
    assert answer.code == 2
    message = answer.err.partition("error: ")[2]
    for word in words:
        assert word in message, f"{word!r} is missing in: {message}"
    assert "Traceback" not in answer.err


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("model/net=edrs", ["model/net=edrs", "srresnet", 'Did you mean "edsr"']),
        ("model=gna", ["cnn, gan", 'Did you mean "gan"']),
        ("data=cifar", ['Did you mean "cifar10"']),
        ("trainer.max_stps=3", ["trainer.max_stps", 'Did you mean "trainer.max_steps"']),
        ("modle.net=edsr", ["type model/net=edsr"]),
        ("model/discriminator=vgg", ["model/discriminator", "not part of the chosen model"]),
        ("model=GAN", ['Did you mean "gan"']),
        ("model/loss=l2", ['Did you mean "mse"']),
        ("lr=1e-3", ["type model.optimizer.lr=1e-3"]),
        ("epochs=3", ["type trainer.max_epochs=3 trainer.max_steps=-1"]),
        ("device=cuda", ["type trainer.accelerator=gpu"]),
        ("foo=1", ['no option or group "foo". See']),
        ("data.path=photos", ["data.path", "for photographs add data=folder"]),
        ("model.adversarial_weight=1", ["model.adversarial_weight", "add model=gan"]),
        ("model.loss.mse.weight=1", ["model.loss.mse.weight", "model/loss=[…,mse]"]),
        ("model/net=edsr,rcan", ["-m model/net=edsr,rcan"]),
        ("model/loss=l1,fft", ["-m model/loss=l1,fft", "model/loss=[l1,fft]"]),
        ("data.test=Set5,Set14", ["data.test=[Set5,Set14]"]),
        ("seed=0,1", ["seed=0,1", "-m seed=0,1"]),
        ("hydra/launcher=joblib", ["pip install hydra-joblib-launcher"]),
        ("hydra/sweeper=optuna", ["type sweep=tpe"]),
        ("hydra/launcher=slurm", ["expected one of basic", "plugins"]),
        ("hydra.run.dir=x", ["hydra.run.dir=x", "paths.runs=FOLDER"]),
        ("hydra.sweep.dir=x", ["hydra.sweep.dir=x", "paths.runs=FOLDER"]),
        ("hydra.output_subdir=x", ["hydra.output_subdir=x", "leave it out"]),
        ("--epochs=3", ["--epochs=3", "without dashes: trainer.max_epochs=3"]),
        ("--multirn", ['Did you mean "--multirun"']),
        ("model.net=edsr", ["model/net=edsr"]),
        ("model/net.width=32", ["an option is set with dots, model.net.width=32"]),
        ("track=null", ["track=null: a group cannot be null"]),
        ("model.schedule.final_factor=x", ["model.schedule.final_factor=x: expected a number from 0 to 1"]),
        ("+model.net.wdth=3", ["wdth", 'Did you mean "width"']),
        ("+model.x=1", ['no option "x"', "optimizer"]),
        ("+data.batchsize=1", ['no option "batchsize"', 'Did you mean "batch"']),
        ("+trainer.max_stepz=1", ['no option "max_stepz"', 'Did you mean "max_steps"']),
        ("+model.optimizer.lrate=1", ['no option "lrate"']),
        ("model.net._target_=sr.net.plain.Plane", ["there is no Plane", 'Did you mean "Plain"']),
        ("scale=5", ["scale=5", "2, 3, 4, 8"]),
        ("scale=two", ["scale=two", "2, 3, 4, 8"]),
        ("color=rbg", ["color=rbg", 'Did you mean "rgb"']),
        ("stages=[fitt]", ['Did you mean "fit"']),
        ("data.batch=0", ["data.batch=0", "1 or more"]),
        ("trainer.max_steps=abc", ["trainer.max_steps=abc", "whole number"]),
        ("seed=-1", ["seed=-1", "4294967295"]),
        ("stages=[]", ["stages=[]: expected one stage or more"]),
        ("stages=[test,fit]", ["stages=[test,fit]: training comes before the test", "type stages=[fit,test]"]),
        ("trainer.devices=2", ["trainer.devices=2", "trainer=ddp"]),
        ("trainer.devices=[0,1]", ["trainer.devices=[0,1]: for several devices type trainer=ddp"]),
        ("trainer.devices=[0,0]", ["trainer.devices=[0,0]: expected each GPU once"]),
        ("+trainer.limit_val_batches=1", ["trainer.limit_val_batches=1: a mean over some images", "data.val=[…]"]),
        ("+trainer.limit_test_batches=1", ["trainer.limit_test_batches=1: a mean over some images", "data.test=[…]"]),
        ("+trainer.fast_dev_run=true", ["trainer.fast_dev_run=True", "trainer.max_steps=2 track=none"]),
        ("+trainer.overfit_batches=1", ["trainer.overfit_batches=1", "data=folder"]),
        ("+trainer.limit_train_batches=2", ["trainer.limit_train_batches=2", "trainer.max_steps=…"]),
        ("+trainer.num_sanity_val_steps=0", ["trainer.num_sanity_val_steps=0: this option of Lightning is set by sr"]),
        ("monitor=psnrr", ["monitor=psnrr: expected a metric", "psnr, ssim", 'Did you mean "psnr"']),
        ("monitor=val/Set5/psnr", ["on one of the sets sample, such as val/sample/psnr"]),
        ("monitor_also=lpips", ["monitor_also=lpips: expected a metric", "metric/also=[…] adds others"]),
        ("trainer.precision=bf16", ["trainer.precision=bf16", 'Did you mean "bf16-mixed"']),
        ("data.test=Set5", ["data.test=Set5", "data.test=[Set5]"]),
        ("data.test=[Set5,Set5]", ["data.test", "twice"]),
        ("metric.channel=foo", ["metric.channel=foo", "y, y8, rgb"]),
        ("stages=[test]", ["stages=[test]", "not trained", "sr.evaluate"]),
        ("channels=1", ["model:", "channels"]),
        ("no_equals_sign", ["no_equals_sign", "key=value"]),
    ],
)
def test_a_mistyped_word_is_answered_with_the_nearest_right_one(typed: str, expected: list[str], sr: Any) -> None:
    assert_refused(sr("run", typed), *expected)


NAMES_ELSEWHERE = {
    "learning_rate=1e-3": "model.optimizer.lr=1e-3",
    "model.lr=1e-3": "model.optimizer.lr=1e-3",
    "bs=8": "data.batch=8",
    "steps=5": "trainer.max_steps=5",
    "patch_size=48": "data.patch=48",
    "num_workers=4": "data.workers=4",
    "gpu=1": "trainer.devices=1",
    "gpus=2": "trainer.devices=2",
    "device=cpu": "trainer.accelerator=cpu",
    "net=edsr": "model/net=edsr",
    "batch_size=8": "data.batch=8",
    "max_steps=5": "trainer.max_steps=5",
    "optim=sgd": "model/optimizer=sgd",
    "crop_size=48": "data.patch=48",
    "out_dir=x": "paths.runs=x",
    "data_dir=x": "",  # data.path is an option of data=folder
    "foo=1": "",
}


@pytest.mark.parametrize("typed", ["bands=4,3,2", "range=0,3000"])
def test_a_list_without_brackets_is_answered_with_brackets(typed: str, sr: Any) -> None:
    key, _, value = typed.partition("=")
    assert_refused(sr("predict", "input=a.tif", typed), f"{typed}: expected a list: {key}=[{value}]")


def test_names_that_options_have_elsewhere_are_answered_with_those_of_sr() -> None:
    keys = list_valid_keys("run", [])
    found = {word: suggest_words(*word.split("=", 1), keys) for word in NAMES_ELSEWHERE}
    assert found == NAMES_ELSEWHERE
    assert suggest_words("data_dir", "x", list_valid_keys("run", ["data=folder"])) == "data.path=x"
    assert suggest_words("out_dir", "x", list_valid_keys("predict", [])) == "output=x"
    known = {*keys, *(key for words in (["model=gan"], ["data=folder"]) for key in list_valid_keys("run", words))}
    known |= {key for command in ("predict", "evaluate", "inspect") for key in list_valid_keys(command, [])}
    assert {option for options in SYNONYMS.values() for option in options} <= known


def test_help_and_errors_come_before_anything_heavy_is_imported() -> None:
    """They are answered without delay."""
    program = """
import sys
from sr import run
for words in (["--help"], ["scale=5"], ["model/net=edrs"], ["+model.x=1"], ["+trainer.x=1"], ["trainer.max_stps=1"]):
    sys.argv = ["sr-run", *words]
    try:
        run.main()
    except SystemExit as stop:
        assert (stop.code or 0) == (0 if words == ["--help"] else 2), words
heavy = {"torch", "pytorch_lightning", "mlflow", "torchmetrics", "numpy"} & set(sys.modules)
assert not heavy, heavy
sys.argv = ["sr-run", "-m", "seed=0,1", "scale=5"]
try:
    run.main()
except SystemExit as stop:
    assert stop.code == 2
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "seeds", "times"),
    [
        (["seed=3"], [3], 1),
        (["hydra.mode=MULTIRUN", "seed=3,4"], [3, 4], None),
        (["--config-dir=own", "experiment=both"], [5, 6], None),
    ],
)
def test_the_config_of_a_run_is_composed_once_and_the_mode_of_hydra_is_respected(
    words: list[str], seeds: list[int], times: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own" / "experiment").mkdir(parents=True)
    mode = "# @package _global_\nhydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n      seed: 5,6\n"
    (tmp_path / "own" / "experiment" / "both.yaml").write_text(mode)
    monkeypatch.chdir(tmp_path)
    compose, composed, seen = Hydra.compose_config, [], []
    monkeypatch.setattr(Hydra, "compose_config", lambda *a, **k: composed.append(1) or compose(*a, **k))
    run_command("run", lambda cfg: seen.append(cfg.seed), words)
    assert seen == seeds
    assert times in (None, len(composed))


def test_help_lists_groups_and_choices(sr: Any) -> None:
    answer = sr("run", "--help")
    assert "\n      bicubic, carn, carn_m, edsr, edsr_large, efdn," in answer.out
    assert "\n  trainer.max_steps=1200 " in answer.out


@pytest.mark.parametrize("command", [path.stem for path in find_conf_dir().glob("*.yaml")])
def test_help_explains_options_in_80_columns(command: str, sr: Any) -> None:
    """What people use most comes first; each group has a purpose, and options have the comments of conf/ beside them."""
    lines = sr(command, "--help").out.splitlines()
    assert max(map(len, lines)) <= 80
    if command == "run":
        first = lines.index("Used most:")
        assert first < 10
        assert {line.split("=")[0].strip() for line in lines[first : first + 20] if "=" in line} >= {
            "model/net", "model/loss", "data", "scale", "trainer.max_steps", "model.optimizer.lr", "data.batch",
        }  # fmt: skip
        start, end = (next(k for k, line in enumerate(lines) if line.startswith(w)) for w in ("Groups", "All options"))
        groups = [line for line in lines[start + 1 : end] if re.match(r"  \w", line)]
        assert len(groups) >= 12
        assert not [line for line in groups if len(line) < 34 and not line.endswith("]")]  # without a purpose
        assert "  data.patch=64                 side of a training patch, in HR pixels" in lines


def test_help_shows_the_options_of_what_is_typed(sr: Any) -> None:
    answer = sr("run", "-m", "model=gan", "data=folder", "data.path=my photos (1)", "--help")
    assert answer.code == 0
    assert "  data.path=my photos (1) " in answer.out
    assert "  model.warmup_steps=1000 " in answer.out
    assert_refused(sr("run", "--help", "lr=3"), "type model.optimizer.lr=3")


def test_version_is_that_of_sr(sr: Any) -> None:
    from sr import __version__

    assert sr("predict", "--version") == (0, f"sr {__version__}\n", "")


def test_a_flag_with_a_value_is_answered_with_the_option(sr: Any) -> None:
    assert_refused(sr("run", "--max_steps", "5"), "--max_steps 5", "trainer.max_steps=5")
    assert_refused(sr("predict", "--checkpoint", "best.ckpt"), "checkpoint=best.ckpt")
    assert_refused(sr("predict", "--input=a.png"), "input=a.png")


def test_a_home_folder_of_nobody(sr: Any, tmp_path: Path) -> None:
    write_image(tmp_path / "a.png")
    answer = sr("predict", "checkpoint=~nobody here.ckpt", "input=a.png", "output=b")
    assert_refused(answer, "checkpoint=~nobody here.ckpt", "type checkpoint=./~nobody here.ckpt")


def test_files_of_shared_lines_are_no_choices(sr: Any) -> None:
    """`conf/data/_files.yaml` is listed neither by --help nor by the answer to a wrong choice."""
    listed = sr("run", "--help").out
    assert "\n      benchmark, cifar10, " in listed
    assert ", sample" in listed
    assert " _files," not in listed
    answer = sr("run", "data=sampel")
    assert_refused(answer, "data=sampel", 'Did you mean "sample"')
    assert "_files" not in answer.err


def test_empty_folder(sr: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert_refused(sr("run", *FAST, "data=folder", "data.path=empty"), "data.path=empty", "no images")


def test_missing_folder(sr: Any) -> None:
    assert_refused(sr("run", *FAST, "data=folder", "data.path=nowhere"), "data.path=nowhere", "no such folder")
    assert_refused(sr("run", *FAST, "data=folder"), "data.path=DIR")


def test_missing_benchmark(sr: Any) -> None:
    assert_refused(sr("run", *FAST, "data.test=[Set55]"), "data.test=Set55", "SR_DATA")


def test_text_file_named_png(sr: Any, tmp_path: Path) -> None:
    for k in range(3):
        write_image(tmp_path / "photos" / f"{k}.png")
    (tmp_path / "photos" / "notes.png").write_text("these are notes")
    assert_refused(sr("run", *FAST, "data=folder", "data.path=photos"), "notes.png", "not an image")


def test_patch_larger_than_image(sr: Any, tmp_path: Path) -> None:
    for k in range(3):
        write_image(tmp_path / "photos" / f"{k}.png", 48, 56)
    assert_refused(sr("run", *FAST, "data=folder", "data.path=photos", "data.patch=64"), "data.patch=64", "56×48")


def test_pair_of_wrong_size_lists_all_errors_at_once(sr: Any, tmp_path: Path) -> None:
    for k in range(3):
        write_image(tmp_path / "hr" / f"{k}.png", 48, 56)
        write_image(tmp_path / "lr" / f"{k}.png", 24, 28 - k)
    answer = sr("run", *FAST, "data=pair", "data.lr=lr", "data.hr=hr", "data.patch=32")
    assert_refused(answer, "2 error(s)", "1.png", "2.png", "28×24 was expected")


def test_truncated_cifar_archive(sr: Any, tmp_path: Path) -> None:
    batch = tmp_path / "data_batch_1"
    batch.write_bytes(bytes(5000))
    archive = tmp_path / "data" / "cifar-10-python.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(batch, "cifar-10-batches-py/data_batch_1")
    archive.write_bytes(archive.read_bytes()[:-20])
    assert_refused(
        sr("run", *FAST, "data=cifar10", "paths.data=data"), "cifar-10-python.tar.gz", "wrong checksum", "cut off"
    )


def test_offline_without_cifar(sr: Any) -> None:
    answer = sr("run", *FAST, "data=cifar10", "paths.data=data", "data.url=http://127.0.0.1:9/cifar-10-python.tar.gz")
    assert_refused(answer, "download failed", "put the file here: data/cifar-10-python.tar.gz")


def test_no_gpu(sr: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for name in ("gpu", "cuda"):
        answer = sr("run", "track=none", f"trainer.accelerator={name}")
        assert_refused(answer, f"trainer.accelerator={name}", "found none", "type trainer.accelerator=cpu")
    assert not (tmp_path / "runs").exists()


def test_unwritable_output(sr: Any, tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file is in the way")
    assert_refused(sr("run", *FAST), "paths.runs=", "cannot make a folder")


@pytest.mark.slow
def test_wrong_address_of_the_tracker(sr: Any) -> None:
    assert_refused(
        sr("run", "track.uri=htp://127.0.0.1:9"), "track.uri=htp://127.0.0.1:9", "http://127.0.0.1:5000", "track=none"
    )


def test_benchmark_has_nothing_to_train_on(sr: Any, world: Path) -> None:
    assert_refused(sr("run", *FAST, "data=benchmark", f"paths.data={world}"), "data=benchmark", "model/net=bicubic")


def test_unknown_watch(sr: Any, world: Path) -> None:
    words = ("data=folder", f"data.path={world}/photos", "data.patch=32", "data.batch=2", "monitor=val/Set5/psnr")
    assert_refused(sr("run", *FAST, *words), "monitor=val/Set5/psnr", "val/folder/psnr")


def test_options_may_follow_overrides_and_paths_need_no_quotes(sr: Any, tmp_path: Path) -> None:
    answer = sr("run", "model=gan", "--help")
    assert answer.code == 0
    assert "warmup_steps=1000" in answer.out
    assert_refused(sr("run", *FAST, "data=folder", "data.path=my photos (1), a=b"), "data.path=my photos (1), a=b")
    assert_refused(sr("run", *FAST, "data=folder", "data.path=~/no such"), "no such")


def test_predict_says_what_is_missing(sr: Any, tmp_path: Path) -> None:
    assert_refused(sr("predict"), "missing: input=…")
    Image.new("RGB", (4, 4)).save(tmp_path / "image.png")
    assert_refused(sr("predict", "checkpoint=no.ckpt", "input=a", "output=b"), "input=a", "no such file")
    answer = sr("predict", "checkpoint=no.ckpt", "input=image.png", "output=b")
    assert_refused(answer, "checkpoint=no.ckpt", "no such file")
    assert_refused(
        sr("predict", "checkpoint=image.png", "input=image.png", "output=b"),
        "checkpoint=image.png",
        "not a file of weights",
    )
