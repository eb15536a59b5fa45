"""Upscaling images with a checkpoint: results, messages for wrong input, and what a malicious file cannot do."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from conftest import write_image
from PIL import Image

from sr.checkpoint import load as checkpoints
from sr.config.schema import find_conf_dir
from sr.image.read import read_image
from sr.image.resize import imresize
from sr.net.plain import Plain
from sr.prediction.files import upscale_files
from sr.runtime.error import UserError

DEFAULTS = {"input": "a.png", **yaml.safe_load((find_conf_dir() / "predict.yaml").read_text(encoding="utf-8"))}
LIGHTER = 20  # levels that the net of these tests adds to bicubic upscaling, to distinguish the two


def save_checkpoint(path: Path, color: str = "rgb", scale: int = 2, net: Any = None, weights: Any = None) -> Path:
    """Write a checkpoint as a run does: of a net that is bicubic and a little lighter, or of the given config and weights."""
    options = {"scale": scale, "channels": 3 if color == "rgb" else 1, "width": 4, "depth": 3}
    plain = Plain(**options)
    torch.nn.init.constant_(plain.body[-2].bias, LIGHTER / 255)
    content = {
        "state_dict": {f"net.{k}": v for k, v in plain.state_dict().items()} if weights is None else weights,
        "global_step": 7,
        checkpoints.KEY: {
            "config": {"scale": scale, "color": color, "model": {"net": net or {"_target_": "sr.net.plain.Plain", **options}}},
            "metrics": {"val/Set5/psnr": 33.7},
        },
    }  # fmt: skip
    torch.save(content, path)
    return path


def run_predict(checkpoint: Path, input: Any, output: Any, **options: Any) -> None:
    """Run the command with the options of `conf/predict.yaml`, some of them replaced."""
    words = {"checkpoint": str(checkpoint), "input": input, "output": output, "device": "cpu"}
    upscale_files({**DEFAULTS, **words, **options})


def create_work_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a checkpoint to `folder`, and change to a new, empty folder in it; return the checkpoint."""
    checkpoint = save_checkpoint(folder / "best.ckpt")
    (folder / "work").mkdir()
    monkeypatch.chdir(folder / "work")
    return checkpoint


@pytest.fixture
def predict(tmp_path: Path) -> Callable[..., Path]:
    """`predict(input, color="y", overwrite=True)` upscales into PNG files in `out/` and returns that folder."""

    def command(source: Path, overwrite: bool = False, **options: Any) -> Path:
        path = save_checkpoint(tmp_path / "best.ckpt", **options)
        run_predict(path, str(source), str(tmp_path / "out"), overwrite=overwrite, format="png")
        return tmp_path / "out"

    return command


def open_image(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.load()
    return image


def upscale_expected(source: Path, scale: int = 2) -> np.ndarray:
    """Return the expected result: bicubic and lighter, in 8 bits, `[H, W, C]`."""
    bicubic = imresize(read_image(source).pixels.double() / 255, scale) * 255
    return (bicubic + LIGHTER + 0.5).floor().clamp(0, 255).permute(1, 2, 0).numpy()


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_an_image_is_upscaled_with_the_nets_weights(tmp_path: Path, predict: Any, scale: int) -> None:
    source = write_image(tmp_path / "a photo.jpg", 20, 27)
    result = open_image(predict(source, scale=scale) / f"a photo_x{scale}.png")
    assert (result.mode, result.size) == ("RGB", (27 * scale, 20 * scale))
    assert np.abs(np.array(result) - upscale_expected(source, scale)).max() <= 1


def test_a_folder_becomes_a_folder_of_pngs(tmp_path: Path, predict: Any) -> None:
    for name in ("a.png", "b.jpg", "c.webp", "d.bmp", "e.tif"):
        write_image(tmp_path / "in" / name)
    (tmp_path / "in" / "notes.txt").touch()
    out = predict(tmp_path / "in")
    assert sorted(path.name for path in out.glob("*.png")) == [f"{stem}_x2.png" for stem in "abcde"]


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (50, 3)])
def test_very_small_images_are_upscaled(tmp_path: Path, predict: Any, size: tuple[int, int]) -> None:
    source = tmp_path / "a.png"
    Image.new("RGB", size, (10, 20, 30)).save(source)
    assert open_image(predict(source) / "a_x2.png").size == (2 * size[0], 2 * size[1])


@pytest.mark.parametrize("color", ["rgb", "y", "gray"])
def test_gray_stays_gray(tmp_path: Path, predict: Any, color: str) -> None:
    source = write_image(tmp_path / "a.png", 20, 27, mode="L")
    result = open_image(predict(source, color=color) / "a_x2.png")
    assert (result.mode, result.size) == ("L", (54, 40))
    lighter = LIGHTER * (255 / 219 if color == "y" else 1)  # a level of luma is more than a level of gray
    off = np.array(result) - (upscale_expected(source)[..., 0] - LIGHTER + lighter).clip(0, 255)
    assert np.abs(off).max() <= 2


def test_with_color_y_the_net_is_applied_to_luma_only(tmp_path: Path, predict: Any) -> None:
    """Chroma is upscaled bicubically, so that all three channels get lighter by the same amount."""
    source = tmp_path / "a.png"
    Image.new("RGB", (12, 10), (90, 120, 60)).save(source)
    result = np.array(open_image(predict(source, color="y") / "a_x2.png"))
    assert np.abs(result - (np.array([90, 120, 60]) + LIGHTER * 255 / 219)).max() <= 1


def test_a_gray_net_gives_gray_images(tmp_path: Path, predict: Any) -> None:
    assert open_image(predict(write_image(tmp_path / "a.png"), color="gray") / "a_x2.png").mode == "L"


@pytest.mark.parametrize(
    ("mode", "color", "becomes"),
    [("RGBA", "rgb", "RGBA"), ("RGBA", "y", "RGBA"), ("RGBA", "gray", "LA"), ("LA", "rgb", "LA")],
)
def test_alpha_is_upscaled(tmp_path: Path, predict: Any, mode: str, color: str, becomes: str) -> None:
    source = tmp_path / "a.png"
    image = open_image(write_image(tmp_path / "base.png", 20, 27)).convert(mode)
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    image.save(source)
    result = open_image(predict(source, color=color) / "a_x2.png")
    assert (result.mode, result.size) == (becomes, (54, 40))
    assert np.array_equal(np.array(result.getchannel("A")), imresize(read_image(source).alpha, 2)[0])


def test_exif_orientation_is_applied_and_not_applied_again(tmp_path: Path, predict: Any) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    source = tmp_path / "a.jpg"
    open_image(write_image(tmp_path / "base.png", 20, 27)).save(source, exif=exif)
    result = open_image(predict(source) / "a_x2.png")
    assert result.size == (40, 54)
    assert result.getexif().get(0x0112, 1) == 1
    assert np.abs(np.array(result) - upscale_expected(source)).max() <= 1


def test_the_color_profile_is_written_if_it_fits(tmp_path: Path, predict: Any) -> None:
    open_image(write_image(tmp_path / "base.png")).save(tmp_path / "a.png", icc_profile=b"a profile")
    assert open_image(predict(tmp_path / "a.png") / "a_x2.png").info["icc_profile"] == b"a profile"
    gray = open_image(predict(tmp_path / "a.png", overwrite=True, color="gray") / "a_x2.png")
    assert "icc_profile" not in gray.info


# wrong input


def test_files_are_overwritten_only_with_the_option(tmp_path: Path, predict: Any) -> None:
    for name in ("a.png", "b.png"):
        write_image(tmp_path / "in" / name)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "b_x2.png").write_text("mine")
    with pytest.raises(UserError, match=r"b_x2\.png.*overwrite=true"):
        predict(tmp_path / "in")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b_x2.png"]  # nothing was written
    assert (tmp_path / "out" / "b_x2.png").read_text() == "mine"
    assert open_image(predict(tmp_path / "in", overwrite=True) / "b_x2.png").size == (112, 96)


def test_two_images_of_one_name_are_refused(tmp_path: Path, predict: Any) -> None:
    for name in ("a.png", "a.jpg"):
        write_image(tmp_path / "in" / name)
    with pytest.raises(UserError, match=r"a\.jpg and a\.png would both become a_x2\.png"):
        predict(tmp_path / "in")
    assert not (tmp_path / "out").exists()


def test_bad_images_are_named_and_the_others_written(tmp_path: Path, sr: Any) -> None:
    for name in ("a.png", "d.png"):
        write_image(tmp_path / "in" / name)
    (tmp_path / "in" / "b.png").write_text("I am a letter")
    (tmp_path / "in" / "c.jpg").write_text("%!PS")
    path = save_checkpoint(tmp_path / "best.ckpt")
    answer = sr("predict", f"checkpoint={path}", f"input={tmp_path}/in", f"output={tmp_path}/out", "device=cpu")
    assert answer.code == 2
    assert "2 of 4 images could not be upscaled" in answer.err
    assert "b.png: this is not an image" in answer.err
    assert "c.jpg: this is an EPS file" in answer.err
    assert "Traceback" not in answer.err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a_x2.png", "d_x2.png", "predict.json"]


def test_an_image_that_does_not_fit_in_memory_is_named(
    tmp_path: Path, predict: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(Plain, "forward", full)
    with pytest.raises(UserError, match=r"a\.png: .*does not fit in memory"):
        predict(write_image(tmp_path / "a.png"))


@pytest.mark.parametrize(("name", "reason"), [("missing", "no such file or folder"), ("empty", "no images")])
def test_an_input_without_images_is_named(tmp_path: Path, predict: Any, name: str, reason: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=f"^input={tmp_path / name}: .*{reason}"):
        predict(tmp_path / name)


# checkpoints


def test_a_checkpoint_has_its_net_metrics_and_step(tmp_path: Path) -> None:
    loaded = checkpoints.load_checkpoint(save_checkpoint(tmp_path / "a.ckpt", scale=3))
    assert (loaded.net.scale, loaded.step, loaded.metrics) == (3, 7, {"val/Set5/psnr": 33.7})
    assert not loaded.net.training


class Command:
    """An object that runs a shell command when it is unpickled."""

    def __init__(self, line: str) -> None:
        self.line = line

    def __reduce__(self) -> tuple:
        return os.system, (self.line,)


@pytest.mark.parametrize("layout", ["torch", "pickle"])
def test_a_checkpoint_that_runs_a_command_when_opened_is_refused(tmp_path: Path, layout: str) -> None:
    witness, path = tmp_path / "it ran", tmp_path / "a.ckpt"
    evil = Command(f"echo > '{witness}'")
    torch.save({"state_dict": evil}, path) if layout == "torch" else path.write_bytes(pickle.dumps(evil, protocol=2))
    with pytest.raises(UserError, match=f"checkpoint={path}: it holds more than weights"):
        checkpoints.load_checkpoint(path)
    assert not witness.exists()


@pytest.mark.parametrize(
    "net",
    [
        {"_target_": "os.system", "command": "echo > '{witness}'"},
        {"_target_": "torch.save", "obj": "x", "f": "{witness}"},
        {"_target_": "sr.net.plain.nn.modules.module.torch.save", "obj": "x", "f": "{witness}"},
        {"_target_": "sr.net.bicubic.Bicubic", "scale": {"_target_": "torch.save", "obj": "x", "f": "{witness}"}},
        {"_target_": "sr.net.bicubic.Bicubic", "scale": [{"_target_": "torch.save", "obj": "x", "f": "{witness}"}]},
        {
            "_target_": "sr.net.bicubic.Bicubic",
            "scale": "${{oc.create:{{_target_: torch.save, obj: x, f: '{witness}'}}}}",
        },
    ],
    ids=["command", "foreign", "through a net's imports", "nested", "in a list", "by a resolver"],
)
def test_a_checkpoint_may_only_name_nets_of_sr(tmp_path: Path, net: dict[str, Any]) -> None:
    witness = tmp_path / "it ran"

    def fill_in(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: fill_in(value) for key, value in node.items()}
        return [fill_in(value) for value in node] if isinstance(node, list) else node.format(witness=witness)

    path = save_checkpoint(tmp_path / "a.ckpt", net=fill_in(net), weights={})
    with pytest.raises(UserError, match=f"checkpoint={path}: model.net.*(is no part of sr|expected plain values)"):
        checkpoints.load_checkpoint(path)
    assert not witness.exists()


def test_a_net_of_ones_own_needs_trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_own_net.py").write_text("from sr.net.plain import Plain\n\nclass Mine(Plain):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    net = {"_target_": "my_own_net.Mine", "scale": 2, "channels": 3, "width": 4, "depth": 3}
    path = save_checkpoint(tmp_path / "a.ckpt", net=net)
    with pytest.raises(UserError, match=r"trust=\[my_own_net\]"):
        checkpoints.load_checkpoint(path)
    assert type(checkpoints.load_checkpoint(path, trust=["my_own_net"]).net).__name__ == "Mine"


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.ckpt").write_text("hello")
    whole = save_checkpoint(tmp_path / "cut.ckpt").read_bytes()
    (tmp_path / "cut.ckpt").write_bytes(whole[: len(whole) // 2])
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    save_checkpoint(tmp_path / "unfit.ckpt", weights={})
    reasons = {
        "missing": "no such file", "text": "not a file of weights", "cut": "not a file of weights",
        "other": "no weights in it", "unfit": "its weights do not fit its net",
    }  # fmt: skip
    for name, reason in reasons.items():
        with pytest.raises(UserError, match=f"^checkpoint={tmp_path / name}.ckpt: .*{reason}"):
            checkpoints.load_checkpoint(tmp_path / f"{name}.ckpt")
