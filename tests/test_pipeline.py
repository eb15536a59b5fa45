"""Upscaling files one after another: results in order, errors of single images, atomic writing."""

from pathlib import Path

import numpy as np
import pytest
import torch
from memory_format import MemoryFile, MemoryFormat
from torch import Tensor

from sr.checkpoint.load import LoadedNet
from sr.image.file_format import Frame
from sr.image.resize import imresize
from sr.net.bicubic import BicubicNet
from sr.prediction import opened_job
from sr.prediction.opened_job import UpscaleJob
from sr.prediction.pipeline import Pipeline, iterate_upscaled
from sr.runtime.error import UserError

BICUBIC = LoadedNet(BicubicNet(scale=2, channels=3).eval(), {"scale": 2, "color": "rgb"}, {}, 0)


@pytest.fixture
def images(monkeypatch: pytest.MonkeyPatch) -> dict[str, MemoryFile]:
    """Images that are opened by the name of their path."""
    images: dict[str, MemoryFile] = {}

    def open_image_file(path: Path, options: object = None) -> MemoryFile:
        if path.name not in images:
            raise UserError(f"{path}: there is no such file")
        return images[path.name]

    monkeypatch.setattr(opened_job, "open_image_file", open_image_file)
    return images


def make_levels(seed: int, *shape: int) -> Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def test_results_come_in_order_and_a_bad_image_does_not_end_the_batch(images: dict, tmp_path: Path) -> None:
    pixels = {name: make_levels(seed, 3, 9 + seed, 7) for seed, name in enumerate("acd")}
    images.update({name: MemoryFile([Frame(levels)]) for name, levels in pixels.items()})
    jobs = [UpscaleJob(Path(name), tmp_path / f"{name}.raw", MemoryFormat()) for name in "abcd"]
    results = list(iterate_upscaled(BICUBIC, iter(jobs)))
    assert [result.job for result in results] == jobs
    assert [str(result.error) for result in results] == ["None", "b: there is no such file", "None", "None"]
    assert [result.size for result in results] == [(18, 14), (0, 0), (20, 14), (22, 14)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.raw", "c.raw", "d.raw"]
    for name, levels in pixels.items():
        written = np.frombuffer((tmp_path / f"{name}.raw").read_bytes(), np.uint8).reshape(3, -1, 14)
        assert np.array_equal(written, imresize(levels, 2).numpy())


def test_an_error_while_writing_leaves_the_target_as_it_was(images: dict, tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_text("before")
    bad = torch.full((1, 4, 4), torch.nan)
    images["a"] = MemoryFile([Frame(torch.zeros(1, 4, 4)), Frame(bad)])
    (result,) = iterate_upscaled(BICUBIC, [UpscaleJob(Path("a"), tmp_path / "a.raw", MemoryFormat())])
    assert str(result.error).startswith("a: expected numbers (found NaN or infinity among its pixels)")
    assert [path.name for path in tmp_path.iterdir()] == ["a.raw"]
    assert (tmp_path / "a.raw").read_text() == "before"


def test_what_the_format_cannot_hold_is_named(images: dict, tmp_path: Path) -> None:
    levels = torch.randint(0, 65536, (3, 5, 4), dtype=torch.int32).to(torch.uint16)
    images["a"] = MemoryFile([Frame(levels, levels[:1])] * 3)
    small = MemoryFormat(frames=1, has_alpha=False, dtype=torch.uint8, white=255.0)
    (result,) = iterate_upscaled(BICUBIC, [UpscaleJob(Path("a"), tmp_path / "a.raw", small)])
    assert result.error is None
    assert result.frames == 1
    assert result.lost == ["2 of 3 frames", "alpha", "16 bits per channel"]
    assert small.writers[0].pixels.dtype == torch.uint8
    assert small.writers[0].pixels.shape == (3, 10, 8)


class Repeated(torch.nn.Module):
    """Repeats each pixel."""

    scale, channels, receptive_field = 2, 3, 1

    def forward(self, lr: Tensor) -> Tensor:
        return lr.repeat_interleave(2, -1).repeat_interleave(2, -2)


def test_gray_of_16_bits_has_the_levels_of_a_color_net(images: dict, tmp_path: Path) -> None:
    levels = torch.tensor([[[0, 40_000, 65_535]]], dtype=torch.int32).to(torch.uint16)
    images["a"] = MemoryFile([Frame(levels)])
    model = LoadedNet(Repeated(), {"scale": 2, "color": "rgb"}, {}, 0)
    target = MemoryFormat()
    (result,) = iterate_upscaled(model, [UpscaleJob(Path("a"), tmp_path / "a.raw", target)])
    assert result.error is None
    assert target.writers[0].pixels[0, 0].tolist() == [0, 0, 40_000, 40_000, 65_535, 65_535]


def test_an_interrupt_while_a_result_is_written_does_not_lose_it() -> None:
    """Otherwise the results after it would be taken for those of other images."""

    class Writing:
        """A future that is waited for when Ctrl-C is pressed."""

        def __init__(self, result: str) -> None:
            self.answers = iter((KeyboardInterrupt, result))

        def result(self) -> str:
            answer = next(self.answers)
            if answer is KeyboardInterrupt:
                raise answer
            return answer

    pipeline = Pipeline(BICUBIC, False, None, None, 0, None, None, None)
    pipeline._pending.append(Writing("a"))
    with pytest.raises(KeyboardInterrupt):
        list(pipeline.iterate_pending(0))
    assert list(pipeline.iterate_pending(0)) == ["a"]
