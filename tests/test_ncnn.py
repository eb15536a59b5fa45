"""Networks of ncnn: the same pixels as ncnn itself computes; a file that is not exactly such a network is refused."""

import random
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

import sr
from sr.checkpoint.load import load_checkpoint
from sr.net.rrdb import RRDBNet
from sr.net.srvgg import SRVGGNetCompact
from sr.pretrained.networks import find_network
from sr.runtime.error import UserError

# Mean of R, G and B of the result of `draw_gradient`, and its pixel in row 5 and column 7, as levels of 8 bits: computed by
# the package ncnn 1.0.20261020 from the same files (CPU, float32).
NCNN = {
    "realesrgan_x4plus": ((112.3560, 110.1844, 122.2024), (16, 16, 16)),
    "realesrgan_x4plus_anime": ((118.4062, 113.2014, 125.1373), (13, 12, 13)),
    "realesr_animevideov3_x2": ((122.2484, 114.1930, 127.5820), (26, 14, 24)),
    "realesr_animevideov3_x3": ((122.2260, 114.1930, 127.5746), (16, 10, 13)),
    "realesr_animevideov3_x4": ((122.2451, 114.1898, 127.5828), (15, 7, 16)),
}
CONVOLUTION = "Convolution conv{k} 1 1 {a} {b} 0={width} 1=3 4=1 5=1 6={size}"


def draw_gradient() -> np.ndarray:
    """Return a 20×16 image whose channels rise in different directions."""
    y, x = np.mgrid[0:16, 0:20]
    return np.stack([x * 12 % 256, y * 15 % 256, (x + y) * 7 % 256], axis=-1).astype(np.uint8)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "realesrgan_x4plus" else ()) for name in NCNN]
)
def test_the_result_is_that_of_ncnn(name: str) -> None:
    if find_network(name).find_file() is None:
        pytest.skip("needs sr[pretrained]")
    means, pixel = NCNN[name]
    result = sr.upscale(sr.load(name, "cpu"), draw_gradient()).astype(float)
    np.testing.assert_allclose(result.mean(axis=(0, 1)), means, atol=0.01)
    np.testing.assert_allclose(result[5, 7], pixel, atol=1)


def write_ncnn(folder: Path, dtype: str) -> Path:
    """Write SRVGGNetCompact of depth 1 as ncnn stores it; float16 has its tag, and is padded to four bytes."""
    torch.manual_seed(0)
    net = SRVGGNetCompact(4, depth=1)
    torch.save(net.state_dict(), folder / "net.pth")
    lines, weights = ["Input input 0 1 data", "Split split 1 2 data data0 data1"], b""
    blobs = iter(["data0", "b0", "b1", "b2", "b3", "b4", "b5"])
    blob = next(blobs)
    for k, layer in enumerate(net.body):
        following, values = next(blobs), [p.detach().numpy() for p in layer.parameters()]
        if isinstance(layer, torch.nn.PReLU):
            lines.append(f"PReLU prelu{k} 1 1 {blob} {following} 0={len(values[0])}")
            weights += values[0].astype("<f4").tobytes()
        else:
            size, width = values[0].size, len(values[1])
            lines.append(CONVOLUTION.format(k=k, a=blob, b=following, width=width, size=size))
            weights += struct.pack("<I", 0x01306B47 if dtype == "<f2" else 0) + values[0].astype(dtype).tobytes()
            weights += b"\0" * (-len(weights) % 4) + values[1].astype("<f4").tobytes()
        blob = following
    lines += [f"PixelShuffle shuffle 1 1 {blob} c0 0=4", "Interp resize 1 1 data1 c1 0=1 1=4.0 2=4.0"]
    lines += ["BinaryOp add 2 1 c0 c1 output"]
    (folder / "net.param").write_text("\n".join(["7767517", f"{len(lines)} 12", *lines, ""]))
    (folder / "net.bin").write_bytes(weights)
    return folder / "net.param"


@pytest.mark.parametrize(("dtype", "tolerance"), [("<f4", 0), ("<f2", 1e-3)])
def test_both_kinds_of_weights_are_read(tmp_path: Path, dtype: str, tolerance: float) -> None:
    loaded, published = load_checkpoint(write_ncnn(tmp_path, dtype)), load_checkpoint(tmp_path / "net.pth")
    lr = torch.rand(1, 3, 5, 6)
    assert loaded.config == published.config | {"model": {"net": published.config["model"]["net"] | {"shuffle": 4}}}
    torch.testing.assert_close(loaded.net(lr), published.net(lr), atol=tolerance, rtol=0)


@pytest.mark.parametrize(
    ("pattern", "replacement", "said"),
    [
        ("7767517", "7767518", "its first line is not 7767517"),
        (r"\n10 ", "\n999999999 ", "it has 10 layers, and states 999999999"),
        ("1=4.0", "1=3.0", "found Interp"),
        ("0=1 1=4.0", "0=2 1=4.0", "found Interp"),
        ("c0 0=4", "c0 0=2", "found PixelShuffle"),
        ("4=1", "4=0", "found Convolution"),
        ("c0 c1 output", "c1 c0 output", "found BinaryOp"),
        ("data1 c1", "b1 c1", "found Interp"),
        ("data1 c1", "nothing c1", "the layer resize has an unknown input"),
        ("PReLU prelu1", "ReLU prelu1", "found ReLU"),
        ("6=1728", "6=999999999999", "conv0: expected 6="),
        ("6=1728", "6=1729", "conv0: expected 6= a multiple of 9·64"),
        ("0=64 1=3", "0=0 1=3", "conv0: expected 0=1…4096 (found 0)"),
        ("6=1728", "6=1152", "net.bin is longer than its weights"),
        ("6=1728", "6=x", "conv0: expected 6="),
        ("1 1 data0", "1 999999 data0", "not a network of ncnn"),
        ("1=4.0", "1=nothing", "the value nothing"),
        ("Input", "Inpüt", "it is no text"),
    ],
)
def test_another_graph_is_refused(tmp_path: Path, pattern: str, replacement: str, said: str) -> None:
    path = write_ncnn(tmp_path, "<f4")
    path.write_text(re.sub(pattern, replacement, path.read_text(), count=1), encoding="utf-8")
    with pytest.raises(UserError, match=re.escape(said)) as raised:
        load_checkpoint(path)
    assert str(raised.value).startswith(f"checkpoint={path}")


def test_the_weights_must_have_their_size(tmp_path: Path) -> None:
    path = write_ncnn(tmp_path, "<f2")
    file = path.with_suffix(".bin")
    content = file.read_bytes()
    tag = struct.pack("<I", 0x000D4B38)
    for wrong, said in (
        (content[:-1], "net.bin is truncated"), (content + b"\0", "it has 133709 bytes, its weights 133708"),
        (content + bytes(len(content)), "net.bin is longer than its weights"), (b"", "net.bin is truncated"),
        (tag + content[4:], "expected weights in float16 or float32 (found int8)"),
        (b"\1\2\3\4" + content[4:], "found tag 0x04030201"),
    ):  # fmt: skip
        file.write_bytes(wrong)
        with pytest.raises(UserError, match=re.escape(said)):
            load_checkpoint(path)
    file.unlink()
    with pytest.raises(UserError, match=r"expected its weights next to it, net\.bin"):
        load_checkpoint(path)


def test_a_flipped_byte_is_refused_or_has_no_effect(tmp_path: Path) -> None:
    """Of 200 files with a flipped byte in the text, each is refused in one line or gives the same net."""
    path, draw = write_ncnn(tmp_path, "<f4"), random.Random(0)
    text, expected = path.read_bytes(), load_checkpoint(path)
    refused = 0
    for _ in range(200):
        k = draw.randrange(len(text))
        path.write_bytes(text[:k] + bytes([text[k] ^ 1 << draw.randrange(8)]) + text[k + 1 :])
        try:
            loaded = load_checkpoint(path)
        except UserError as error:
            assert "\n" not in str(error)
            refused += 1
        else:
            assert loaded.config == expected.config
            assert all(
                torch.equal(value, expected.net.state_dict()[key]) for key, value in loaded.net.state_dict().items()
            )
    assert refused > 100


@pytest.mark.parametrize(
    ("net", "options"),
    [
        (SRVGGNetCompact(4, depth=32), {"width": 64, "depth": 32}),  # as realesr-general-x4v3.pth
        (SRVGGNetCompact(2, channels=1, width=24, depth=2), {"width": 24, "depth": 2}),
        (RRDBNet(4, width=16, blocks=6, growth=8), {"width": 16, "blocks": 6, "growth": 8}),  # blocks of the anime file
    ],
)
def test_the_size_of_a_published_net_is_detected(tmp_path: Path, net: torch.nn.Module, options: dict[str, int]) -> None:
    torch.save({"params_ema": net.state_dict()}, tmp_path / "net.pth")
    loaded = load_checkpoint(tmp_path / "net.pth")
    lr = torch.rand(1, net.channels, 7, 5)
    assert loaded.config["model"]["net"].items() >= options.items()
    assert torch.equal(loaded.net(lr), net(lr))
