"""A video that was stopped goes on: its result is that of an undisturbed process, byte by byte."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from clips import DOUBLED, Doubled, upscale, write_clip
from test_predict import save_checkpoint
from test_prediction_memory import measure_peak
from torch import Tensor

from sr.checkpoint.load import LoadedNet
from sr.image.format.video_packets import PacketFile
from sr.runtime.error import UserError

FRAMES, SEGMENT, SIDE = 70, 60, 18


class Stopped(Doubled):
    """Raises an exception instead of upscaling its frame number `last`."""

    def __init__(self, last: int, error: BaseException) -> None:
        super().__init__()
        self.last, self.error, self.count = last, error, 0

    def forward(self, lr: Tensor) -> Tensor:
        if self.count == self.last:
            raise self.error
        self.count += lr.shape[-1] == SIDE  # another size is that by which memory is estimated
        return super().forward(lr)


def load(net: Doubled) -> LoadedNet:
    return LoadedNet(net.eval(), {"scale": 2, "color": "rgb"}, {}, 0)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    source = write_clip(folder / "a.mp4", "libx264", "yuv420p", range(FRAMES), has_audio=True, size=(SIDE, SIDE))
    upscale(source, folder / "undisturbed.mp4", DOUBLED)
    return source


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_what_is_encoded_is_not_computed_again(clip: Path, tmp_path: Path, error: BaseException) -> None:
    unfinished = tmp_path / ".work"
    with pytest.raises((KeyboardInterrupt, UserError)):
        upscale(clip, tmp_path / "b.mp4", load(Stopped(66, error)), unfinished=unfinished)
    assert [path.name for path in tmp_path.iterdir()] == [".work"]
    net = Stopped(-1, error)
    assert upscale(clip, tmp_path / "b.mp4", load(net), unfinished=unfinished).frames == FRAMES
    assert net.count == FRAMES - SEGMENT
    assert (tmp_path / "b.mp4").read_bytes() == clip.with_name("undisturbed.mp4").read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["b.mp4"]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.97, 1.0])
def test_a_torn_file_of_encoded_frames_is_used_up_to_its_last_whole_segment(
    clip: Path, tmp_path: Path, share: float
) -> None:
    unfinished = tmp_path / ".work"
    with pytest.raises(KeyboardInterrupt):
        upscale(clip, tmp_path / "b.mp4", load(Stopped(66, KeyboardInterrupt())), unfinished=unfinished)
    data = unfinished.read_bytes()
    unfinished.write_bytes(data[: int(share * len(data))] + b"\0" * (share > 0.9) * 40)
    net = Stopped(-1, KeyboardInterrupt())
    upscale(clip, tmp_path / "b.mp4", load(net), unfinished=unfinished)
    assert net.count in ((FRAMES,) if share < 0.9 else (FRAMES, FRAMES - SEGMENT))
    assert (tmp_path / "b.mp4").read_bytes() == clip.with_name("undisturbed.mp4").read_bytes()


def test_frames_of_another_encoder_are_discarded(tmp_path: Path) -> None:
    first = PacketFile(tmp_path / "a", b"x264")
    first.append(0, True, b"frame")
    first.end_segment(1)
    first.close()
    assert PacketFile(tmp_path / "a", b"x264").frames == 1
    other = PacketFile(tmp_path / "a", b"x265")
    assert (other.frames, other.packets) == (0, [])
    with (tmp_path / "b").open("wb") as file:
        file.write(b"no file of frames")
    assert PacketFile(tmp_path / "b", b"x264").frames == 0


def test_nothing_is_left_after_an_error_of_the_network(clip: Path, tmp_path: Path) -> None:
    class Damaged(Doubled):
        def forward(self, lr: Tensor) -> Tensor:
            return super().forward(lr) * torch.nan

    with pytest.raises(UserError, match="NaN"):
        upscale(clip, tmp_path / "b.mp4", load(Damaged()), unfinished=tmp_path / ".work")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow(15)
def test_the_command_goes_on_after_sigkill(tmp_path: Path) -> None:
    checkpoint = save_checkpoint(tmp_path / "best.ckpt")
    source = write_clip(tmp_path / "a.mp4", "libx264", "yuv420p", range(250), has_audio=True, size=(64, 96))
    words = [sys.executable, "-m", "sr.predict", f"checkpoint={checkpoint}", f"input={source}", "device=cpu"]
    undisturbed, stopped = tmp_path / "undisturbed", tmp_path / "stopped"
    subprocess.run([*words, f"output={undisturbed}"], check=True, capture_output=True, timeout=200)
    process = subprocess.Popen([*words, f"output={stopped}"], stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    end = time.monotonic() + 200
    while time.monotonic() < end and process.poll() is None:
        if any(path.stat().st_size > 10_000 for path in stopped.glob(".*.unfinished")):
            os.kill(process.pid, signal.SIGKILL)
            break
        time.sleep(0.02)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    done = subprocess.run([*words, f"output={stopped}"], check=True, capture_output=True, timeout=200, text=True)
    assert "1 image upscaled" in done.stdout
    assert (stopped / "a_x2.mp4").read_bytes() == (undisturbed / "a_x2.mp4").read_bytes()
    assert sorted(path.name for path in stopped.iterdir()) == ["a_x2.mp4", "predict.json"]


@pytest.mark.long
def test_memory_does_not_grow_with_the_length_of_a_video(tmp_path: Path) -> None:
    """Frames of the result are 0.6 MB as RGB, and 120 more of them would be 71 MB."""
    checkpoint = save_checkpoint(tmp_path / "best.ckpt")
    peaks = []
    for count in (70, 190):
        source = write_clip(tmp_path / f"{count}.mp4", "libx264", "yuv420p", range(count), size=(192, 256))
        peaks.append(measure_peak(checkpoint, f"input={source}", f"output=out{count}"))
    assert peaks[1] - peaks[0] < 40


@pytest.mark.long
def test_a_video_of_720p_needs_less_than_800_mb(tmp_path: Path) -> None:
    """The whole process, with 0.3 GB of libraries and 0.2 GB of x264. Frames of the result are 44 MB in float32."""
    checkpoint = save_checkpoint(tmp_path / "best.ckpt")
    source = write_clip(tmp_path / "a.mp4", "libx264", "yuv420p", range(18), size=(720, 1280))
    assert measure_peak(checkpoint, f"input={source}", "output=out") < 800
