"""data=video: sets of whole clips, the LR of whole clips, frames in their order; through training and evaluation."""

import json
import random
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sr.data.clip import ClipLR, OpenVideo, list_clips
from sr.data.clip_split import split_clips
from sr.degrade.chain import Chain
from sr.degrade.noise import Gaussian
from sr.image.file_format import Frame
from sr.runtime.error import UserError


@pytest.fixture
def clips(tmp_path: Path, photos: Callable[[str], Image.Image]) -> Path:
    """Three clips of 5 frames, 48×64, in a folder of each, and one that has 30 frames."""
    photo = np.asarray(photos("coffee.png"))
    for name, (top, count) in {"gate": (40, 5), "hall": (120, 5), "yard": (200, 5)}.items():
        write_clip(tmp_path / "clips" / name, photo, top, count)
    write_clip(tmp_path / "long", photo, 100, 30)
    return tmp_path


def write_clip(folder: Path, photo: np.ndarray, top: int, count: int) -> None:
    folder.mkdir(parents=True)
    for k in range(count):
        Image.fromarray(photo[top + k : top + k + 48, 100 + 2 * k : 164 + 2 * k]).save(folder / f"{k:03d}.png")


def create(compose: Any, build: Any, *words: str) -> Any:
    return build.build_data(compose("data=video", "scale=2", "data.patch=16", *words))


def list_groups(data: Any) -> dict[str, set[str]]:
    splits = ("train", "val", "test")
    return {split: {frame.group for frame in data.find_images(split).hr} for split in splits}


def test_a_clip_is_in_one_set(clips: Path, compose: Any, build: Any, capsys: pytest.CaptureFixture) -> None:
    data = create(compose, build, f"data.path={clips}/clips")
    groups = list_groups(data)
    assert {len(names) for names in groups.values()} == {1}
    assert set.union(*groups.values()) == {"gate", "hall", "yard"}
    (held_out,) = groups["test"]
    assert (
        f"of 3 clips, held out are {next(iter(groups['val']))} for the validation and {held_out} for"
        in capsys.readouterr().err
    )
    alone = create(compose, build, f"data.path={clips}/clips", f"data.val=[{clips}/long]", f"data.test=[{clips}/long]")
    assert {frame.group for frame in alone.find_images("train").hr} == {"gate", "hall", "yard"}


def test_of_one_clip_a_block_is_held_out_behind_a_gap(clips: Path, compose: Any, build: Any) -> None:
    data = create(compose, build, f"data.path={clips}/long", "data.every=5")
    numbers = {split: [frame.frame for frame in data.find_images(split).hr] for split in ("train", "val", "test")}
    assert numbers == {"train": [0, 5, 10, 15], "val": [21, 22, 23], "test": list(range(24, 30))}
    assert "held out are 22 to 24 for the validation and 25 to 30 for the test, 3 before them are not used" in (
        data.describe_own_set("test")
    )
    short = create(compose, build, f"data.path={clips}/long", "data.frames=19")
    with pytest.raises(UserError, match=r"one of 20 frames or more \(found one of 19 frames\)"):
        short.find_images("train")


def test_the_split_does_not_depend_on_the_order_of_clips(clips: Path) -> None:
    found = list_clips(clips / "clips", "data.path")
    sets = split_clips(found, "data.path", True), split_clips(found[::-1], "data.path", True)
    assert [x.blocks["test"] for x in sets] == [sets[0].blocks["test"]] * 2


def test_lr_is_that_of_the_whole_clip_in_any_order_of_reading(clips: Path, compose: Any, build: Any) -> None:
    """The noise of each frame follows from the clip's first frame and its position."""
    data = create(compose, build, f"data.path={clips}/clips", f"data.test=[{clips}/clips/hall]")
    data.degrade = Chain(2, [Gaussian(sigma=(5, 20))])
    type(data.degrade).takes_clips, takes_clips = True, type(data.degrade).takes_clips
    try:
        data.setup("test")
        (images,) = data.eval_sets["test"]
        order = list(range(5))
        random.Random(0).shuffle(order)
        with ThreadPoolExecutor(4) as pool:
            lr = dict(zip(order, (raw.lr for raw in pool.map(images.__getitem__, order)), strict=True))
        hr = [images[k].hr for k in range(5)]
        expected = data.degrade.degrade_clip(hr, zlib.crc32(hr[0].contiguous().numpy()))
        assert all(torch.equal(lr[k], expected[k]) for k in range(5))
        assert data.describe_lr("test", 0).endswith(" of clips")
        assert images.clips == ["hall"] * 5
        before = images._lr[0].key
        Image.new("RGB", (64, 48)).save(clips / "clips" / "hall" / "004.png")
        assert data._open_files(data.find_set_images(clips / "clips" / "hall", "data.test"))._lr[0].key != before
    finally:
        type(data.degrade).takes_clips = takes_clips


class CountingFile:
    """An image file that notes which frames are decoded."""

    def __init__(self) -> None:
        self.decoded: list[int] = []

    def read(self, frame: int) -> Frame:
        self.decoded.append(frame)
        return Frame(torch.full((3, 2, 2), frame, dtype=torch.uint8), None)


def test_neighboring_frames_are_decoded_once_in_any_order() -> None:
    file = CountingFile()
    video = OpenVideo(file)
    for frame in (1, 0, 3, 2, 5, 4, 30, 29, 31):
        assert video.read(frame)[0, 0, 0] == frame
    assert file.decoded == list(range(32))
    assert video.read(2)[0, 0, 0] == 2  # it is buffered no more: read again
    assert video.read(4)[0, 0, 0] == 4
    assert file.decoded[32:] == [2, 3, 4]


def test_wrong_clips_are_named(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no clip")
    for path, message in (
        (tmp_path / "notes.txt", "expected a video, or a folder of frames or clips"),
        (tmp_path / "empty", "no images in this folder"),
    ):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(UserError, match=message):
            list_clips(path, "data.path")
    (clips / "long" / "010.png").rename(clips / "long" / "f10.png")
    (clips / "long" / "009.png").rename(clips / "long" / "f9.png")
    with pytest.raises(UserError, match=r"names sort in their order \(found f10.png before f9.png\)"):
        list_clips(clips / "long", "data.path")


def test_images_of_different_sizes_are_no_clip(clips: Path, compose: Any, build: Any) -> None:
    pytest.importorskip("av", reason="PyAV is not installed: pip install 'sr[video]'")
    Image.new("RGB", (64, 50)).save(clips / "long" / "007.png")
    data = create(compose, build, "data/degrade=h264", f"data.test=[{clips}/long]")
    with pytest.raises(
        UserError, match=r"long/007: expected frames of one size in a clip \(found 64×50, the first one 64×48"
    ):
        data.setup("test")


@pytest.mark.slow(12)
def test_training_and_evaluation_on_clips(clips: Path, sr: Any, tmp_path: Path) -> None:
    pytest.importorskip("av", reason="PyAV is not installed: pip install 'sr[video]'")
    pytest.importorskip("cv2", reason="OpenCV is not installed: pip install 'sr[video]'")
    words = ["data=video", "data/degrade=h264", "metric/also=[warping_error,flicker]", "track=none", "progress=false"]
    answer = sr(
        "run", *words, f"data.path={clips}/clips", "data.patch=32", "data.batch=2", "trainer.max_steps=2", "scale=2"
    )
    assert answer.code == 0, answer.err
    assert "of 3 clips, held out are" in answer.err
    (run,) = tmp_path.glob("runs/*")
    assert sr("evaluate", f"checkpoint={run}/best.ckpt", *words, f"data.test=[{clips}/long]").code == 0
    (file,) = tmp_path.glob("runs/*/evaluate.json")
    result = json.loads(file.read_text(encoding="utf-8"))["sets"]["long"]
    assert result["count"] == 30
    assert result["protocol"]["lr"].startswith("Chain(")
    assert "H264(" in result["protocol"]["lr"]
    assert result["protocol"]["lr"].endswith(" of clips")
    assert result["per_image"]["long/000"]["warping_error_dis"] == "nan"
    assert result["metrics"]["warping_error_dis"] > 0


@pytest.mark.slow(20)
@pytest.mark.usefixtures("sender_thread")
def test_texts_of_a_video_are_in_results_and_in_no_log(sr: Any, tmp_path: Path) -> None:
    clips = pytest.importorskip("clips", reason="needs sr[video]")
    texts = {
        "title": "Mallory-Garden",
        "artist": "Quillfeather",
        "comment": "Room-4711",
        "location": "+52.5163+013.3777/",
    }

    def set_up(container: Any, stream: Any) -> None:
        container.metadata.update(texts)
        stream.metadata["language"] = "deu"

    folder = tmp_path / "in"
    folder.mkdir()
    for name, count in (("a.mp4", 12), ("b.mkv", 8), ("c.mp4", 8)):
        clips.write_clip(folder / name, "libx264", "yuv420p", range(count), size=(64, 96), set_up=set_up)
    words = ("data=video", "track=mlflow", "progress=false")
    short = ("data.patch=32", "data.batch=2", "trainer.max_steps=2", "scale=2", "model.net.width=4")
    answers = [sr("run", *words, f"data.path={folder}", *short)]
    (run,) = (path.parent for path in (tmp_path / "runs").glob("*/best.ckpt"))
    checkpoint = f"checkpoint={run}/best.ckpt"
    answers.append(sr("evaluate", *words, checkpoint, f"data.test=[{folder}/a.mp4]"))
    answers.append(sr("predict", checkpoint, f"input={folder}", f"output={tmp_path}/out", "progress=false"))
    (folder / "b.mkv").write_bytes((folder / "b.mkv").read_bytes()[:-300])
    answers.append(sr("predict", checkpoint, f"input={folder}", f"output={tmp_path}/out2", "progress=false"))
    assert [answer.code for answer in answers] == [0, 0, 0, 2], answers[-1].err
    assert "b.mkv" in answers[-1].err
    for name in ("a_x2.mp4", "b_x2.mkv"):
        with clips.av.open(str(tmp_path / "out" / name)) as container:
            assert set(texts.values()) <= set(container.metadata.values())
    own = [path for path in tmp_path.rglob("*") if path.is_file() and folder not in path.parents]
    logs = [path for path in own if path.suffix not in (".mp4", ".mkv", ".patch")]  # a patch may have this test
    assert {"mlflow.db", "predict.json", "evaluate.json", "journal.jsonl"} <= {path.name for path in logs}
    for text in texts.values():
        assert all(text not in answer.out + answer.err for answer in answers)
        assert [path for path in logs if text.encode() in path.read_bytes()] == []


def test_frames_of_a_video_are_those_of_its_file(clips: Path, tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason="PyAV is not installed: pip install 'sr[video]'")
    files = sorted((clips / "long").iterdir())[:6]
    with av.open(str(tmp_path / "clip.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=25, width=64, height=48, pix_fmt="bgr0")
        for file in files:
            container.mux(stream.encode(av.VideoFrame.from_image(Image.open(file))))
        container.mux(stream.encode(None))
    (video,) = list_clips(tmp_path / "clip.mkv", "data.path")
    (folder,) = list_clips(clips / "long", "data.path")
    assert [frame.name for frame in video[:2]] == ["clip/00000", "clip/00001"]
    for k in (1, 0, 5, 2):
        assert torch.equal(video[k].read(), folder[k].read())
    chain = Chain(2, [Gaussian(sigma=(9, 9))])
    lr = [ClipLR(frames, chain, 2).read(3) for frames in (video, folder[:6])]
    assert torch.equal(*lr)
