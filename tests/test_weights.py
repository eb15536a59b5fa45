"""Weight files of any origin: nothing in them is executed, wrappers are removed, the architecture is detected."""

import contextlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import write_image

from sr.checkpoint import architecture
from sr.checkpoint.load import load_checkpoint
from sr.net.espcn import ESPCN
from sr.net.imdn import IMDN
from sr.pretrained.state_dict import unwrap_state_dict
from sr.runtime.error import UserError


class Payload:
    """A harmless payload in the place of any code."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("suffix", ["pth", "ckpt", "pt", "npz"])
def test_a_payload_is_refused_without_running_it(sr: Callable, tmp_path: Path, suffix: str) -> None:
    mark, file = tmp_path / "it ran", tmp_path / f"weights.{suffix}"
    write_image(tmp_path / "photo.png")
    if suffix == "npz":
        np.savez(file, w00=np.array([Payload(mark)], dtype=object), allow_pickle=True)
    elif suffix == "pt":
        file.write_bytes(pickle.dumps({"params": Payload(mark)}))
    else:
        torch.save({"state_dict": {"a": torch.zeros(1)}, "extra": Payload(mark)}, file)
    for verb, words in (("evaluate", ("data.test=[Set5]",)), ("predict", (f"input={tmp_path}/photo.png", "output=y"))):
        answer = sr(verb, f"checkpoint={file}", *words)
        assert answer.code == 2
        assert f"checkpoint={file}" in answer.err
        assert "weights_only" not in answer.err  # PyTorch's own message advises to disable the protection
    assert not mark.exists()
    with contextlib.suppress(RuntimeError):  # the payload has run by then
        np.load(file, allow_pickle=True)["w00"] if suffix == "npz" else torch.load(file, weights_only=False)
    assert mark.exists()  # the payload works


@pytest.mark.parametrize("wrap", ["params", "params_ema", "state_dict", "net_g", None])
def test_the_usual_wrappers_are_removed(wrap: str | None) -> None:
    state = {"module.a.weight": torch.zeros(2), "module.b.weight": torch.ones(2)}
    content = {"epoch": 7, wrap: state} if wrap else state
    assert list(unwrap_state_dict(content)) == ["a.weight", "b.weight"]


@pytest.mark.parametrize(
    ("name", "prefix"), [("a.pth", ""), ("a.safetensors", "module."), ("a.ckpt", "model.net."), ("a.pt", "generator.")]
)
def test_the_net_is_detected_with_any_prefix(tmp_path: Path, name: str, prefix: str) -> None:
    torch.manual_seed(0)
    net = IMDN(scale=4)
    state = {prefix + key: value for key, value in net.state_dict().items()}
    file = tmp_path / name
    if file.suffix == ".safetensors":
        safetensors.torch.save_file(state, file)
    else:
        torch.save({"state_dict": state, "epoch": 7}, file)
    loaded = load_checkpoint(file)
    assert isinstance(loaded.net, IMDN)
    assert (loaded.config["scale"], loaded.config["color"]) == (4, "rgb")
    lr = torch.rand(1, 3, 12, 13)
    torch.testing.assert_close(loaded.net(lr), net.eval()(lr))


def test_averaged_weights_have_precedence_over_raw_ones() -> None:
    content = {"params": {"a": torch.zeros(1)}, "params_ema": {"a": torch.ones(1)}}
    assert unwrap_state_dict(content)["a"].item() == 1


def test_unusual_files_are_answered(tmp_path: Path) -> None:
    torch.save({1: torch.zeros(1), 2: "two"}, tmp_path / "numbered.pth")
    deep: dict[str, Any] = {}
    deep["state_dict"] = deep
    torch.save(deep, tmp_path / "itself.pth")
    torch.save({"sr": {"config": 3}, "state_dict": {}}, tmp_path / "foreign.ckpt")
    for name, said in {
        "numbered.pth": "no weights",
        "itself.pth": "no weights",
        "foreign.ckpt": "not written by sr",
    }.items():
        with pytest.raises(UserError, match=said):
            load_checkpoint(tmp_path / name)


def test_color_and_scale_are_detected_from_the_file(tmp_path: Path) -> None:
    torch.save(ESPCN(scale=3, channels=1).state_dict(), tmp_path / "a.pth")
    loaded = load_checkpoint(tmp_path / "a.pth")
    assert (type(loaded.net), loaded.config["scale"], loaded.config["color"]) == (ESPCN, 3, "y")
    with pytest.raises(UserError, match=r"scale=2: .* are for scale=3$"):
        load_checkpoint(tmp_path / "a.pth", scale=2)


def test_a_mismatch_lists_the_keys_and_the_net_that_fits_best(tmp_path: Path) -> None:
    state = IMDN(scale=4).state_dict()
    state["fea_conv.weight"] = torch.zeros(32, 3, 3, 3)
    del state["IMDB1.c1.bias"]
    state["more"] = torch.zeros(1)
    torch.save(state, tmp_path / "odd.pth")
    with pytest.raises(UserError) as caught:
        load_checkpoint(tmp_path / "odd.pth", scale=4, net=architecture.compose_net_config("imdn", 4, 3))
    said = str(caught.value)
    assert "1 missing: IMDB1.c1.bias" in said
    assert "1 unexpected: more" in said
    assert "1 of another shape or type: fea_conv.weight (32, 3, 3, 3), expected (64, 3, 3, 3)" in said
    assert "model/net=imdn comes closest" in said
    with pytest.raises(UserError, match="fits none of our nets"):
        load_checkpoint(tmp_path / "odd.pth")


def test_published_weights_upscale_without_conversion(sr: Callable, sr_data: Path, tmp_path: Path) -> None:
    file = sr_data / "weights" / "VDSR" / "vdsr_official.npz"
    words = (f"input={sr_data}/Set5/LR_bicubic/X4/womanx4.png", "output=large")
    unsure = sr("predict", f"checkpoint={file}", *words)
    assert unsure.code == 2
    assert "are for scale=2, 3, 4, 8; choose one" in unsure.err
    assert sr("predict", f"checkpoint={file}", "scale=2", "tile=40", *words).code == 0
    assert (tmp_path / "large" / "womanx4_x2.png").exists()


def test_a_checkpoint_trained_from_spandrel_is_enough(sr: Callable, world: Path, tmp_path: Path) -> None:
    """The checkpoint of a run of `model/net=spandrel model.net.file=…` does not need the weight file."""
    pytest.importorskip("spandrel", reason="spandrel is not installed: pip install 'sr[zoo]'")
    body = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.PReLU(4), torch.nn.Conv2d(4, 12, 3))
    file = tmp_path / "compact.pth"
    torch.save({"params": torch.nn.ModuleDict({"body": body}).state_dict()}, file)
    data = ("data=folder", f"data.path={world}/photos", "data.patch=32", "data.batch=4", "data.test=[Set5]")
    words = ("model/net=spandrel", f"model.net.file={file}", "trainer.max_steps=2", "track=none")
    answer = sr("run", *words, *data, f"paths.data={world}")
    assert answer.code == 0, answer.err
    assert sr("predict", f"checkpoint={file}", f"input={world}/small", "output=before").code == 0
    file.unlink()
    (best,) = (tmp_path / "runs").glob("*/best.ckpt")
    assert sr("predict", f"checkpoint={best}", f"input={world}/small", "output=after").code == 0
    assert (tmp_path / "after" / "p0x2_x2.png").read_bytes() != (tmp_path / "before" / "p0x2_x2.png").read_bytes()
