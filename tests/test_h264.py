"""data/degrade=h264: single images and clips, I and P frames, the same with another program, what is drawn and what is not."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

pytest.importorskip("av", reason="PyAV is not installed: pip install 'sr[video]'")

from sr.degrade import h264
from sr.degrade.chain import Chain
from sr.degrade.h264 import H264
from sr.degrade.jpeg import Jpeg
from sr.degrade.noise import Gaussian
from sr.runtime.error import UserError


@pytest.fixture
def frames(photos: Callable[[str], Image.Image]) -> list[Tensor]:
    """Eight frames of 96×128 that move one pixel to the right each time, uint8 `[3, H, W]`."""
    photo = torch.from_numpy(np.array(photos("coffee.png"))).permute(2, 0, 1)
    return [photo[:, 100:196, 200 + k : 328 + k].contiguous() for k in range(8)]


def measure_psnr(results: list[Tensor], frames: list[Tensor]) -> float:
    errors = [(x.double() - y.double()).square().mean() for x, y in zip(results, frames, strict=True)]
    return -10 * torch.log10(torch.stack(errors).mean() / 255**2).item()


def compress(frames: list[Tensor], crf: int, **options: Any) -> list[Tensor]:
    results = H264(crf=(crf, crf), **options).compress([frame / 255 for frame in frames], crf)
    return [(result * 255).round() for result in results]


def test_a_higher_rate_factor_is_worse(frames: list[Tensor]) -> None:
    values = [measure_psnr(compress(frames, crf), frames) for crf in (5, 18, 28, 40)]
    assert values == sorted(values, reverse=True)
    assert values[0] > 32
    assert values[-1] < 28


def test_gray_is_lossless_at_rate_factor_0(frames: list[Tensor]) -> None:
    """Studio range has fewer levels than full range, so that a level may be off by one; sizes may be odd."""
    gray = [frame[1:2, :95, :127] for frame in frames[:3]]
    for result, frame in zip(compress(gray, 0), gray, strict=True):
        assert result.shape == frame.shape
        assert (result - frame).abs().max() <= 1
        assert abs((result - frame).mean()) < 0.1


def test_frames_of_a_clip_refer_to_those_before(frames: list[Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    import av

    kinds, convert = [], h264._convert

    def record(frame: Any, pixel_format: str) -> Any:
        if pixel_format == "rgb24":
            kinds.append(av.video.frame.PictureType(frame.pict_type).name)
        return convert(frame, pixel_format)

    monkeypatch.setattr(h264, "_convert", record)
    compress(frames, 28, interval=3)
    assert kinds == list("IPPIPPIP")
    kinds.clear()
    H264()([frame / 255 for frame in frames], [28] * 8, (8, 8))  # single images
    assert kinds == list("IIIIIIII")


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed")
def test_ffmpeg_loses_as_much(frames: list[Tensor], tmp_path: Path) -> None:
    raw = b"".join(frame.permute(1, 2, 0).contiguous().numpy().tobytes() for frame in frames)
    layout = "-f rawvideo -pix_fmt rgb24"
    video = tmp_path / "clip.mp4"
    exact = "-sws_flags bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
    options = f"{exact} -c:v libx264 -pix_fmt yuv420p -crf 28 -preset veryfast -bf 0 -g 50 -sc_threshold 0"
    for words in (f"{layout} -s 128x96 -r 25 -i - {options} {video}", f"-i {video} {exact} {layout} -"):
        command = ["ffmpeg", "-v", "error", *words.split()]
        raw = subprocess.run(command, input=raw, capture_output=True, check=True).stdout
    theirs = torch.frombuffer(bytearray(raw), dtype=torch.uint8).view(8, 96, 128, 3).permute(0, 3, 1, 2)
    ours = measure_psnr(compress(frames, 28), frames)
    assert ours == pytest.approx(measure_psnr(list(theirs), frames), abs=0.2)


def test_a_clip_is_degraded_by_one_camera(frames: list[Tensor]) -> None:
    """The parameters are those of the clip's seed, and each frame has noise of its own."""
    still = [torch.full((3, 48, 64), 128, dtype=torch.uint8)] * 3
    noisy = Chain(2, [Gaussian(sigma=(1, 30))])
    clips = [torch.stack(noisy.degrade_clip(still, seed)).float() for seed in (1, 1, 2)]
    assert torch.equal(clips[0], clips[1])
    assert clips[0].shape == (3, 3, 24, 32)
    deviations = clips[0].std(dim=(1, 2, 3))
    assert deviations.max() < 1.1 * deviations.min()
    assert not torch.equal(clips[0][0], clips[0][1])
    assert abs(clips[2].std() - clips[0].std()) > 0.5


def test_a_chain_without_a_codec_degrades_frames_as_images(frames: list[Tensor]) -> None:
    chain = Chain(2, [Jpeg(quality=(40, 40))])
    expected = chain(torch.stack(frames), torch.arange(8))
    assert torch.equal(torch.stack(chain.degrade_clip(iter(frames), 3)), expected)
    assert not chain.takes_clips


def test_the_recipe_degrades_images_and_clips(frames: list[Tensor], compose: Any, build: Any) -> None:
    degrade = build.build_part(compose("data/degrade=h264", "scale=2")["data"]["degrade"], "data.degrade")
    assert degrade.takes_clips
    clip, again, other = (torch.stack(degrade.degrade_clip(frames, seed)) for seed in (5, 5, 6))
    assert (clip.shape, clip.dtype) == ((8, 3, 48, 64), torch.uint8)
    assert torch.equal(clip, again)
    assert not torch.equal(clip, other)
    single = degrade(torch.stack(frames), torch.full((8,), 5))
    small = torch.nn.functional.avg_pool2d(torch.stack(frames).float(), 2)
    for lr in (clip, single):
        assert 20 < measure_psnr(list(lr), list(small)) < 40


def test_missing_pyav_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    h264._import_av.cache_clear()
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r"data/degrade=h264: needs PyAV \(not installed\): pip install 'sr\[video\]'"):
        H264()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crf": (20, 60)}, "H264.crf=(20, 60): expected [least, most] within 0 … 51"),
        ({"preset": "quick"}, "H264.preset=quick: expected one of ultrafast, superfast"),
    ],
)
def test_an_invalid_option_is_rejected(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        H264(**options)
    assert message in str(error.value)
