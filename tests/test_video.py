"""Videos in sr.predict: colors, frames and time stamps, what is copied, what is refused."""

import json
import random
import shutil
import subprocess
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from clips import DOUBLED, av, read_packets, read_planes, read_times, upscale, write_audio, write_clip
from mutated_files import burst, cut, flip, repeat

from sr.image import yuv
from sr.image.file_format import ReadOptions
from sr.image.formats import find_format, identify_kind
from sr.image.read import open_image_file
from sr.image.yuv import YuvCoding, rgb_to_yuv, yuv_to_rgb
from sr.runtime.error import UserError

RED, BLUE = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("coding", "color", "expected"),
    [
        (YuvCoding(6), RED, (81, 90, 240)),  # BT.601, 8 bits: Poynton, "Digital Video and HD", figure 28.11
        (YuvCoding(1), RED, (63, 102, 240)),  # BT.709: figure 28.12
        (YuvCoding(1), BLUE, (32, 240, 118)),
        (YuvCoding(6, is_full=True), RED, (76, 85, 255)),  # JPEG
        (YuvCoding(1, bits=10), (1.0, 1.0, 1.0), (940, 512, 512)),  # BT.2100, table 9
        (YuvCoding(9, bits=10), (0.0, 0.0, 0.0), (64, 512, 512)),
    ],
)  # fmt: skip
def test_colors_are_those_of_the_standards(coding: YuvCoding, color: tuple, expected: tuple[int, ...]) -> None:
    planes = rgb_to_yuv(torch.tensor(color).reshape(3, 1, 1), coding)
    assert tuple(int(plane) for plane in planes) == expected
    (back,) = yuv_to_rgb(planes, coding)
    assert (back.flatten() - torch.tensor(color)).abs().max() < 1 / (2**coding.bits - 1) * 2


@pytest.mark.parametrize("subsampling", [(1, 1), (1, 2), (2, 1), (2, 2)])
def test_colors_do_not_depend_on_the_blocks_of_rows(
    subsampling: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    rgb, coding = torch.rand(3, 27, 9, generator=torch.Generator().manual_seed(0)), YuvCoding(subsampling=subsampling)
    planes = rgb_to_yuv(rgb, coding)
    (whole,) = yuv_to_rgb(planes, coding)
    monkeypatch.setattr(yuv, "ROWS", 4)
    assert all(map(torch.equal, rgb_to_yuv(rgb, coding), planes))
    blocks = list(yuv_to_rgb(planes, coding))
    assert len(blocks) == 7
    assert (torch.cat(blocks, dim=1) - whole).abs().max() < 1e-6


@pytest.mark.parametrize(("name", "pixels"), [("a.mkv", "yuv444p"), ("a.mkv", "bgr0"), ("a.mkv", "yuv444p10le")])
def test_an_identity_net_leaves_every_level_of_a_lossless_video(tmp_path: Path, name: str, pixels: str) -> None:
    source = write_clip(tmp_path / name, pixels=pixels)
    upscale(source, tmp_path / f"result_{name}")
    for before, after in zip(read_planes(source), read_planes(tmp_path / f"result_{name}"), strict=True):
        for one, other in zip(before, after, strict=True):
            dtype = "<u2" if pixels.endswith("le") else np.uint8
            difference = one.view(dtype).astype(int) - other.view(dtype)
            assert abs(difference).max() <= (pixels == "yuv444p")
            assert (difference != 0).mean() < 0.01


def test_time_stamps_and_durations_are_those_of_the_source(tmp_path: Path) -> None:
    times = [0, 3000, 6100, 6101, 20000, 20500, 91000]  # a variable rate, with B frames
    source = write_clip(tmp_path / "a.mp4", "libx264", "yuv420p", times, Fraction(1, 90000))
    result = upscale(source, tmp_path / "b.mp4", DOUBLED)
    assert result.frames == 7
    assert result.size == (64, 96)
    assert [time for time, _ in read_times(tmp_path / "b.mp4")] == [time for time, _ in read_times(source)]
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert container.streams.video[0].time_base == Fraction(1, 90000)


def test_audio_is_copied(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", "libx264", "yuv420p", range(30), has_audio=True)
    upscale(source, tmp_path / "b.mp4", DOUBLED)
    assert read_packets(tmp_path / "b.mp4", 1) == read_packets(source, 1)
    assert len(read_packets(source, 1)) > 50


@pytest.mark.parametrize(("angle", "turns"), [(90, 1), (180, 2), (-90, 3)])
def test_frames_are_upright(tmp_path: Path, angle: int, turns: int) -> None:
    plain = write_clip(tmp_path / "plain.mov", "libx264", "yuv444p", range(2), options={"crf": "0"})
    turned = write_clip(
        tmp_path / "turned.mov", "libx264", "yuv444p", range(2), options={"crf": "0"},
        set_up=lambda _, stream: stream.set_display_rotation(angle),
    )  # fmt: skip
    with av.open(str(turned)) as container:
        assert (next(container.decode(video=0)).rotation - angle) % 360 == 0
    with open_image_file(plain) as stored, open_image_file(turned) as upright:
        expected = torch.rot90(stored.read(1).pixels, turns, (1, 2))  # counterclockwise, as FFmpeg's angle
        assert torch.equal(upright.read(1).pixels, expected)
    upscale(turned, tmp_path / "result.mov", DOUBLED)
    with av.open(str(tmp_path / "result.mov")) as container:
        frame = next(container.decode(video=0))
        assert (frame.rotation, frame.height) == (0, 2 * expected.shape[1])


def test_chapters_texts_and_the_description_of_colors_are_copied(tmp_path: Path) -> None:
    chapters = [
        {"id": 1, "start": 0, "end": 200, "time_base": Fraction(1, 1000), "metadata": {"title": "One"}},
        {"id": 2, "start": 200, "end": 400, "time_base": Fraction(1, 1000), "metadata": {"title": "Two"}},
    ]

    def set_up(container: object, stream: object) -> None:
        container.metadata["title"] = "A film"
        container.set_chapters(chapters)
        context = stream.codec_context
        context.color_range, context.color_primaries, context.color_trc, context.colorspace = 2, 9, 14, 9
        context.sample_aspect_ratio = Fraction(4, 3)

    source = write_clip(tmp_path / "a.mkv", "libx264", "yuv420p10le", set_up=set_up)
    upscale(source, tmp_path / "b.mkv", DOUBLED)
    found = []
    for path in (source, tmp_path / "b.mkv"):
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            context = stream.codec_context
            color = (context.color_range, context.color_primaries, context.color_trc, context.colorspace)
            titles = [(c["start"] * c["time_base"], c["metadata"]["title"]) for c in container.chapters()]
            title = container.metadata["title"]
            found.append((title, titles, color, context.pix_fmt, stream.sample_aspect_ratio, stream.average_rate))
    assert found[0] == found[1]
    assert found[1][:2] == ("A film", [(0, "One"), (Fraction(1, 5), "Two")])
    assert found[1][2:5] == ((2, 9, 14, 9), "yuv420p10le", Fraction(4, 3))


def test_alpha_is_stored_where_the_codec_has_it_and_named_where_not(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mkv", pixels="bgra", times=range(2), noise=True)
    assert upscale(source, tmp_path / "b.mkv").notes == []
    for before, after in zip(read_planes(source), read_planes(tmp_path / "b.mkv"), strict=True):
        assert all(map(np.array_equal, before, after))
    notes = " ".join(upscale(source, tmp_path / "c.webm").notes)
    assert "ffv1 is not written: the result is vp9" in notes
    assert "not in the result: alpha" in " ".join(upscale(source, tmp_path / "d.mp4", codec="h264").notes)


def test_a_matrix_that_would_be_guessed_differently_is_stated(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", "libx264", "yuv420p", range(1), size=(16, 700))
    assert "BT.601" in " ".join(upscale(source, tmp_path / "b.mp4", DOUBLED).notes)
    for name, matrix in (("a", 2), ("b", 6)):
        with av.open(str(tmp_path / f"{name}.mp4")) as container:
            assert container.streams.video[0].codec_context.colorspace == matrix


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("b.mp4", {"codec": "h265x"}, r'codec=h265x: expected h264, hevc.* Did you mean "h265"'),
        ("b.webm", {"codec": "ffv1"}, r"codec=ffv1: webm does not hold it; choose codec=vp9, av1, or format=mkv"),
        ("b.mkv", {"codec": "h264", "crf": 60}, r"crf=60: expected 0…51 \(found h264\)"),
        ("b.mkv", {"codec": "ffv1", "crf": 3}, r"crf=3: expected 0…63 \(found ffv1, which has no such option\)"),
        ("b.mp4", {}, r"would be 49×33, and h264 .* even sides only; choose size=48x32"),
    ],
)
def test_what_is_impossible_is_said(tmp_path: Path, name: str, options: dict, message: str) -> None:
    source = write_clip(tmp_path / "a.webm", "libvpx-vp9", "yuv420p", range(2), size=(33, 49))
    options = {"codec": "h264"} | options
    with pytest.raises(UserError, match=message):
        upscale(source, tmp_path / name, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["a.webm"]


def test_a_damaged_video_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    contents = [(b"", "not an image")]
    for name, checksum in (("a.mp4", "checksum of FFV1"), ("a.mkv", "the checksum near byte")):
        whole = write_clip(tmp_path / name, "ffv1", "yuv420p", range(20), options={"level": "3", "slicecrc": "1"})
        data = whole.read_bytes()
        place = len(data) // 2
        middle = data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]
        contents += [(middle, checksum), (data[:100], "damaged")]
    contents += [(data[:place], f"it ends after {place} of {len(data)} bytes"), (data[:-1], "it ends after")]
    for content, reason in contents:
        (tmp_path / "b.mkv").write_bytes(content)
        with pytest.raises(UserError, match=reason) as error:
            upscale(tmp_path / "b.mkv", tmp_path / "c.mkv")
        assert "\n" not in str(error.value)
        assert not list(tmp_path.glob("[.c]*"))


@pytest.mark.slow(5)
def test_120_damaged_videos_are_read_or_named(tmp_path: Path) -> None:
    """MKV has checksums: a frame that is missing or different is an error. MP4, MOV and WebM have none of the frames."""
    rng, kinds = random.Random(0), (cut, flip, burst, repeat)
    sources = [("a.mp4", "libx264"), ("b.mkv", "libx264"), ("c.webm", "libvpx-vp9"), ("d.mkv", "ffv1")]
    right = {}
    for name, codec in sources:
        path = write_clip(tmp_path / name, codec, "yuv420p", range(10))
        right[name] = (path.read_bytes(), read_planes(path))
    count = Counter()
    for number in range(120):
        name, change = sources[number % 4][0], kinds[number // 4 % 4]
        path = tmp_path / f"{number}_{name}"
        path.write_bytes(change(right[name][0], rng))
        try:
            with open_image_file(path) as file:
                frames = [file.read(k).pixels for k in range(file.header.frames)]
            assert {frame.shape for frame in frames} == {(3, *file.header[:2])}
            assert len(frames) == 10 or file.notes, path.name
            if path.suffix == ".mkv":
                for before, after in zip(right[name][1], read_planes(path), strict=True):
                    assert all(map(np.array_equal, before, after)), path.name
            count["read"] += 1
        except UserError as error:
            assert str(error).startswith(f"{path}: ")
            assert "\n" not in str(error)
            count["named"] += 1
    assert min(count.values()) > 10


def test_a_recording_of_unknown_size_is_read(tmp_path: Path) -> None:
    """A browser writes such a WebM: the sizes of the segment and of its clusters were not known when they began."""
    source = write_clip(tmp_path / "a.webm", "libvpx-vp9", "yuv420p", range(10), container_options={"live": "1"})
    assert b"\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff" in source.read_bytes()
    assert upscale(source, tmp_path / "b.webm", DOUBLED).frames == 10


@pytest.mark.parametrize(
    ("codec", "height", "width", "least", "others"),
    [("hevc", 64, 60, "64×16", "h264, vp9, ffv1"), ("hevc", 12, 64, "64×16", "h264"), ("av1", 16, 64, "32×32", "h264")],
)
def test_frames_that_are_too_small_for_an_encoder_are_named(
    tmp_path: Path, codec: str, height: int, width: int, least: str, others: str
) -> None:
    """The encoders of HEVC and AV1 write past their memory, and end the process."""
    source = write_clip(tmp_path / "a.mp4", "libx264", "yuv420p", range(2), size=(height // 2, width // 2))
    message = f"{width}×{height}, and {codec} encodes frames from {least} pixels on; choose one of codec={others}"
    with pytest.raises(UserError, match=message):
        upscale(source, tmp_path / "b.mp4", DOUBLED, codec=codec)
    assert upscale(source, tmp_path / "b.mp4", DOUBLED, codec="h264").size == (height, width)


def test_missing_frames_are_named(tmp_path: Path) -> None:
    times = [*range(20), *range(25, 40)]
    source = write_clip(tmp_path / "a.mp4", "libx264", "yuv420p", times)
    assert "no frame from 0.76 s to 1.00 s" in " ".join(upscale(source, tmp_path / "b.mp4").notes)
    assert upscale(write_clip(tmp_path / "c.mp4", "libx264", "yuv420p"), tmp_path / "d.mp4").notes == []


def test_interlaced_frames_and_files_without_video_are_refused(tmp_path: Path) -> None:
    options = {"flags": "+ildct+ilme", "x264-params": "tff=1"}
    source = write_clip(tmp_path / "a.mp4", "libx264", "yuv420p", options=options)
    with pytest.raises(UserError, match=r"a.mp4: interlaced video is not upscaled; .*bwdif"):
        upscale(source, tmp_path / "b.mp4")
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        write_audio(container, container.add_stream("aac", rate=48000), 0.2)
    with pytest.raises(UserError, match=r"sound.mp4: expected a video \(found no video in it, but audio\)"):
        upscale(tmp_path / "sound.mp4", tmp_path / "b.mp4")


@pytest.mark.parametrize(
    ("suffix", "codec"), [("mp4", "libx264"), ("mov", "libx264"), ("mkv", "ffv1"), ("webm", "libvpx-vp9")]
)
def test_a_container_is_recognized_by_its_content(tmp_path: Path, suffix: str, codec: str) -> None:
    source = write_clip(tmp_path / f"a.{suffix}", codec, "yuv420p", range(2))
    kind = identify_kind(source.rename(tmp_path / "clip"))
    assert find_format(kind.name).suffixes[0] == f".{suffix}"


def test_frames_are_read_in_any_order(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", "libx264", "yuv420p", range(12))
    with open_image_file(source) as file:
        frames = [file.read(k).pixels for k in range(12)]
        assert all(torch.equal(file.read(k).pixels, frames[k]) for k in (7, 3, 3, 11, 0))
        assert file.metadata.durations == (40.0,) * 12
    with pytest.raises(UserError, match="axis is not an option of MP4 files"):
        open_image_file(source, ReadOptions(axis="z"))


@pytest.mark.skipif(not shutil.which("ffprobe"), reason="needs ffprobe")
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_ffprobe_finds_the_same_frames_audio_and_duration(tmp_path: Path, name: str) -> None:
    source = write_clip(tmp_path / name, "libx264", "yuv420p", range(25), has_audio=True)
    upscale(source, tmp_path / f"b{name}", DOUBLED)
    words = ["ffprobe", "-v", "error", "-show_data_hash", "md5", "-of", "json"]
    found = []
    for path in (source, tmp_path / f"b{name}"):
        shown = ["-show_entries", "format=duration:packet=stream_index,pts_time,size,data_hash", str(path)]
        answer = json.loads(subprocess.run([*words, *shown], check=True, capture_output=True).stdout)
        video = sorted(float(packet["pts_time"]) for packet in answer["packets"] if packet["stream_index"] == 0)
        audio = [packet for packet in answer["packets"] if packet["stream_index"] == 1]
        found.append((video, audio, answer["format"]["duration"]))
    assert found[0] == found[1]
    assert len(found[1][0]) == 25
