"""Images in strips and tiles equal the whole image, in every depth, and never are in memory as a whole."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from memory_format import MemoryFile, MemoryWriter
from test_nets import small  # noqa: F401  a fixture
from torch import Tensor, nn

from sr.checkpoint.load import LoadedNet, load_checkpoint
from sr.image.convert import Pixels
from sr.image.file_format import Frame, Window
from sr.image.formats import find_format
from sr.image.read import read_rgb
from sr.image.resize import imresize
from sr.image.row_resizer import RowResizer
from sr.inference.strip import StripUpscaler
from sr.inference.tile import Tiling, choose_margin
from sr.inference.upscale import upscale
from sr.net.plain import Plain
from sr.prediction.api import upscale_pixels
from sr.prediction.levels import Levels
from sr.prediction.opened_job import UpscaleJob
from sr.prediction.pipeline import iterate_upscaled
from sr.prediction.stream import describe_result, upscale_frames

DATA = os.environ.get("SR_DATA", "")
WHITE = {torch.uint8: 255, torch.uint16: 65535}


def create_model(color: str = "rgb", scale: int = 2, net: nn.Module | None = None) -> LoadedNet:
    torch.manual_seed(0)
    net = net or Plain(scale=scale, channels=3 if color == "rgb" else 1, width=4, depth=3).double().eval()
    for weight in net.parameters():
        nn.init.normal_(weight, std=0.2)
    return LoadedNet(net, {"scale": scale, "color": color}, {}, 0)


def make_frame(dtype: torch.dtype, channels: int, height: int, width: int, has_alpha: bool = False) -> Frame:
    generator = torch.Generator().manual_seed(height * width)
    levels = torch.rand(channels + has_alpha, height, width, generator=generator)
    levels = levels if dtype == torch.float32 else (levels * WHITE[dtype]).round().to(dtype)
    return Frame(levels[:channels], levels[channels:] if has_alpha else None)


def run(
    model: LoadedNet,
    file: MemoryFile,
    tiling: Tiling,
    depth: int | None = None,
    size: Any = None,
    ensemble: bool = False,
) -> MemoryWriter:
    writer = MemoryWriter()
    result = describe_result(file.header, model, depth, size)
    upscaler = StripUpscaler(model.net, model.color, ensemble, tiling)
    with ThreadPoolExecutor(1) as reading, ThreadPoolExecutor(1) as writing, torch.no_grad():
        upscale_frames(upscaler, Levels(model, file.header, result, "a.png"), file, writer, reading, writing)
    return writer


def divide(model: LoadedNet, height: int = 16, width: int = 24) -> Tiling:
    margin, blend = choose_margin(model.net, None)
    return Tiling(height, width, margin, blend)


@pytest.mark.parametrize("color", ["rgb", "y", "gray"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("scale", [2, 3])
def test_strips_of_8_bits_equal_sr_upscale(color: str, channels: int, scale: int) -> None:
    model, frame = create_model(color, scale), make_frame(torch.uint8, channels, 75, 61, has_alpha=True)
    writer = run(model, MemoryFile([frame]), divide(model))
    whole = upscale_pixels(model, Pixels(frame.pixels[None], frame.alpha))
    assert max(writer.strips) == 16 * scale
    assert torch.equal(writer.pixels, whole.color[0])
    assert torch.equal(writer.alpha, whole.alpha)


@pytest.mark.parametrize("dtype", [torch.uint16, torch.float32])
@pytest.mark.parametrize("depth", [None, 8, 16, 32])
def test_strips_of_other_depths_are_rounded_to_the_depth_of_the_result(dtype: torch.dtype, depth: int | None) -> None:
    model, frame = create_model(), make_frame(dtype, 3, 40, 30)
    white = 1000.0 if dtype == torch.float32 else 65535.0  # a float image in 0…1000
    frame = frame._replace(pixels=frame.pixels * 1000 if dtype == torch.float32 else frame.pixels)
    written = run(model, MemoryFile([frame], white=white), divide(model), depth).pixels
    values = frame.pixels.double() if dtype == torch.float32 else frame.pixels.float()
    exact = model.net((values / white).double()[None])[0].detach()
    if depth == 32 or (depth is None and dtype == torch.float32):
        expected = (exact * (white if depth is None or dtype == torch.float32 else 1)).float()
    else:
        top = 255 if depth == 8 else 65535
        expected = (exact * top + 0.5).clamp(0, top).floor().to(torch.uint8 if depth == 8 else torch.uint16)
    assert written.dtype == expected.dtype
    assert torch.equal(written, expected)


def test_a_band_is_a_gray_image(size: tuple[int, int] = (33, 20)) -> None:
    model, frame = create_model(), make_frame(torch.uint16, 5, *size)
    written = run(model, MemoryFile([frame]), divide(model)).pixels
    for band, levels in zip(written, frame.pixels, strict=True):
        (alone,) = run(model, MemoryFile([Frame(levels[None])]), divide(model)).pixels
        assert torch.equal(band, alone)


@pytest.mark.parametrize("size", [(60, 45), (131, 100), (97, 150), (3, 2), (150, 122)])
def test_another_size_equals_imresize_of_the_whole_image(size: tuple[int, int]) -> None:
    model, frame = create_model(), make_frame(torch.uint8, 3, 75, 61, has_alpha=True)
    writer = run(model, MemoryFile([frame]), divide(model), size=size)
    exact = model.net((frame.pixels.float() / 255).double()[None])[0].detach().clamp(0, 1)
    expected = exact if size == (150, 122) else imresize(exact, size=size)
    assert torch.equal(writer.pixels, (expected * 255 + 0.5).clamp(0, 255).to(torch.uint8))
    alpha = imresize(frame.alpha, 2) if size == (150, 122) else None
    if alpha is None:
        exact_alpha = imresize(imresize(frame.alpha.double() / 255, 2).clamp(0, 1), size=size)
        alpha = (exact_alpha * 255 + 0.5).clamp(0, 255).to(torch.uint8)
    assert torch.equal(writer.alpha, alpha)


def test_self_ensemble_in_tiles_equals_that_of_the_whole_image() -> None:
    model, frame = create_model(), make_frame(torch.uint8, 3, 75, 61)
    written = run(model, MemoryFile([frame]), divide(model), ensemble=True).pixels
    with torch.no_grad():
        exact = upscale(model.net, frame.pixels[None], "rgb", ensemble=True)[0]
    assert torch.equal(written, (exact * 255 + 0.5).clamp(0, 255).to(torch.uint8))


def test_all_frames_are_upscaled() -> None:
    model, frames = create_model(), [make_frame(torch.uint8, 1, 20 + n, 9) for n in range(3)]
    frames = [frame._replace(pixels=frame.pixels[:, :20]) for frame in frames]
    writer = run(model, MemoryFile(frames), divide(model))
    assert writer.pixels.shape == (1, 120, 18)
    for number, frame in enumerate(frames):
        alone = run(model, MemoryFile([frame]), divide(model))
        assert torch.equal(writer.pixels[:, 40 * number : 40 * (number + 1)], alone.pixels)


def test_each_row_is_read_once_and_none_much_earlier_than_needed() -> None:
    model, file = create_model(), MemoryFile([make_frame(torch.uint8, 3, 100, 20)])
    run(model, file, Tiling(16, 24, 6))
    assert file.windows == [
        Window(0, 0, 28, 20),
        *(Window(28 + 16 * n, 0, 16, 20) for n in range(4)),
        Window(92, 0, 8, 20),
    ]


@pytest.mark.parametrize(("height", "size"), [(50, 77), (400, 33), (40, 400), (64, 1)])
def test_rows_are_resized_as_the_whole_image(height: int, size: int) -> None:
    image = torch.rand(2, height, 7).double()
    resizer = RowResizer((height, 7), (size, 9))
    pieces = [resizer.push(rows) for rows in image.split(11, dim=1)]
    torch.testing.assert_close(torch.cat(pieces, dim=1), imresize(image, size=(size, 9)), rtol=0, atol=1e-14)
    if size > 50:
        assert sum(len(piece[0]) > 0 for piece in pieces) > 2


@pytest.mark.group("model/net")
def test_strips_equal_the_whole_image(choice: str, small: Callable) -> None:  # noqa: F811
    """0 levels for nets of a finite receptive field; below 1 level in the mean for the others, whose tiles are blended."""
    if choice in ("spandrel", "zero_filled"):  # needs a weight file; a transform of the whole image rings at each edge
        return
    net = small(choice, 2)
    model = LoadedNet(net, {"scale": 2, "color": "rgb"}, {}, 0)
    margin, blend = choose_margin(net, None)
    frame = make_frame(torch.uint8, 3, 13, 2 * margin + 48)
    with torch.no_grad():
        lr = frame.pixels[None].float() / 255
        whole = net(lr if choice == "bicubic" else lr.double())[0]  # the weights of the others are float64
    written = run(model, MemoryFile([frame]), divide(model, 40, 40), depth=32).pixels
    span = float(whole.max() - whole.min())  # of these random weights, as 255 levels
    levels = (written - whole).abs() * 255 / span
    if blend:
        assert float(levels.mean()) < 1
    else:
        assert float(levels.max()) < 1e-4


@pytest.mark.skipif(not DATA, reason="needs SR_DATA: IMDN's weights and Set5")
def test_a_blended_net_gives_the_same_pixels_by_each_command_and_nearly_those_of_the_whole_image(
    tmp_path: Path,
) -> None:
    """IMDN's attention pools over the whole image: sr.upscale, sr.evaluate and sr.predict divide it in the same way."""
    model = load_checkpoint(Path(DATA) / "weights/IMDN/IMDN_x4.pth", torch.device("cpu"))
    source = Path(DATA) / "Set5/LR_bicubic/X4/birdx4.png"
    whole, tiled = (upscale_image(model, read_rgb(source), tile) for tile in (None, 48))
    (result,) = iterate_upscaled(
        model, [UpscaleJob(source, tmp_path / "bird.png", find_format("png"))], tile=48, overlap=None
    )
    assert result.error is None
    assert torch.equal(read_rgb(tmp_path / "bird.png"), tiled)
    evaluated = upscale(model.net, read_rgb(source)[None].float() / 255, model.color, tile=48)
    assert torch.equal((evaluated.clamp(0, 1)[0] * 255 + 0.5).to(torch.uint8), tiled)
    assert 0 < (tiled.float() - whole.float()).abs().mean() < 1


def upscale_image(model: LoadedNet, pixels: Tensor, tile: int | None) -> Tensor:
    return upscale_pixels(model, Pixels(pixels[None], None), tile=tile).color[0]
