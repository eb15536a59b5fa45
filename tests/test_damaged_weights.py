"""Weight files with damaged or hostile content are refused before they are used: checksums, kinds of numbers, sizes."""

import io
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from sr.checkpoint.load import load_checkpoint
from sr.net.espcn import ESPCN
from sr.pretrained.archive import find_defect
from sr.pretrained.state_dict import find_misfit, read_weights
from sr.runtime.error import UserError

NODE = {"_target_": "sr.net.plain.Plain", "scale": 2, "channels": 3, "width": 8}


@pytest.fixture
def checkpoint() -> dict[str, Any]:
    """The content of a small checkpoint of sr."""
    from sr.net.plain import Plain

    torch.manual_seed(0)
    state = {f"net.{name}": value for name, value in Plain(2, width=8).state_dict().items()}
    config = {"scale": 2, "color": "rgb", "model": {"net": dict(NODE)}}
    return {"sr": {"config": config, "metrics": {}}, "state_dict": state, "global_step": 1}


def flip_bit(path: Path, entry: str) -> None:
    """Change the last bit of an archive's entry in place."""
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        data = archive.read(entry)  # random numbers, which torch.save and numpy.savez do not compress
    content[content.index(data) + len(data) - 1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("suffix", ["ckpt", "pth", "npz"])
def test_one_flipped_bit_is_found(tmp_path: Path, suffix: str) -> None:
    torch.manual_seed(0)
    path, state = tmp_path / f"a.{suffix}", ESPCN(2).state_dict()
    if suffix == "npz":
        np.savez(path, **{name: value.numpy() for name, value in state.items()})
    else:
        torch.save(state, path)
    assert find_misfit(ESPCN(2), read_weights(path)) == ([], [], [])
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size).filename
    flip_bit(path, largest)
    with pytest.raises(UserError, match=rf"checkpoint={path}: .*the checksum of {largest} is wrong"):
        load_checkpoint(path)


def test_a_file_without_checksums_is_read(tmp_path: Path) -> None:
    """`torch.serialization.set_crc32_options(False)` saves zeros in their place."""
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(ESPCN(2).state_dict(), tmp_path / "a.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert load_checkpoint(tmp_path / "a.pth", scale=2).scale == 2


@pytest.mark.parametrize("change", ["int8", "complex64", "sparse", "meta", "lazy"])
def test_other_kinds_of_numbers_are_not_converted(checkpoint: dict[str, Any], tmp_path: Path, change: str) -> None:
    state, path = checkpoint["state_dict"], tmp_path / "best.ckpt"
    name = next(iter(state))
    if change == "sparse":
        state[name] = state[name].to_sparse()
    elif change == "meta":
        state[name] = state[name].to("meta")
    elif change == "lazy":
        state[name] = nn.LazyConv2d(3, 3).weight
    else:
        state[name] = state[name].to(getattr(torch, change))
    torch.save(checkpoint, path)
    with pytest.raises(UserError, match=rf"checkpoint={path}: "):
        load_checkpoint(path)


def test_half_precision_weights_are_read(checkpoint: dict[str, Any], tmp_path: Path) -> None:
    checkpoint["state_dict"] = {name: value.half() for name, value in checkpoint["state_dict"].items()}
    torch.save(checkpoint, tmp_path / "best.ckpt")
    assert load_checkpoint(tmp_path / "best.ckpt").scale == 2


@pytest.mark.parametrize("option", ["depth", "width"])
def test_a_net_that_is_larger_than_the_file_is_not_built(
    checkpoint: dict[str, Any], tmp_path: Path, option: str
) -> None:
    checkpoint["sr"]["config"]["model"]["net"] = NODE | {option: 10**9}
    torch.save(checkpoint, tmp_path / "best.ckpt")
    with pytest.raises(UserError, match=r"best\.ckpt: |model\.net: "):
        load_checkpoint(tmp_path / "best.ckpt")


@pytest.mark.parametrize(
    "target",
    [
        "sr.loss.perceptual.Perceptual",
        "sr.metric.lpips.LPIPS",
        "torchmetrics.image.LearnedPerceptualImagePatchSimilarity",
    ],
)
def test_a_checkpoint_cannot_start_a_download(checkpoint: dict[str, Any], tmp_path: Path, target: str) -> None:
    checkpoint["sr"]["config"]["model"]["net"] = {"_target_": target}
    torch.save(checkpoint, tmp_path / "best.ckpt")
    with pytest.raises(UserError, match="which is no part of sr that may stand there"):
        load_checkpoint(tmp_path / "best.ckpt")


@pytest.mark.parametrize("color", ["y", "gray", "cmyk"])
def test_the_color_must_be_that_of_the_net(checkpoint: dict[str, Any], tmp_path: Path, color: str) -> None:
    checkpoint["sr"]["config"]["color"] = color
    torch.save(checkpoint, tmp_path / "best.ckpt")
    with pytest.raises(UserError, match=f"color={color} with a net of ×2, 3 channels"):
        load_checkpoint(tmp_path / "best.ckpt")


@pytest.mark.parametrize("suffix", ["npz", "pth"])
def test_an_archive_that_expands_too_far_is_not_decoded(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.npy", "w") as file:
        for _ in range(200):
            file.write(bytes(1 << 20))
    with pytest.raises(UserError, match=r"MB that expand to 0\.2 GB"):
        read_weights(path)


def test_a_name_that_is_twice_in_an_archive_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "a.pth")
    with zipfile.ZipFile(tmp_path / "a.pth", "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(archive.namelist()[0], b"")
    assert "2 times" in (find_defect(tmp_path / "a.pth") or "")


@pytest.mark.parametrize("suffix", ["pth", "safetensors", "npz"])
def test_a_truncated_file_is_refused(tmp_path: Path, suffix: str) -> None:
    buffer = io.BytesIO()
    state = {"a": torch.rand(100)}
    if suffix == "npz":
        np.savez(buffer, a=state["a"].numpy())
    else:
        buffer.write(safetensors.torch.save(state)) if suffix == "safetensors" else torch.save(state, buffer)
    for size in (0, 1, len(buffer.getvalue()) // 2, len(buffer.getvalue()) - 1):
        (tmp_path / f"a.{suffix}").write_bytes(buffer.getvalue()[:size])
        with pytest.raises(UserError, match=r"checkpoint=.*not a file of weights, or a damaged one"):
            read_weights(tmp_path / f"a.{suffix}")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.ckpt")
    with pytest.raises(UserError, match=r"a\.ckpt: expected a file of weights \(found a pipe or a device\)"):
        read_weights(tmp_path / "a.ckpt")
