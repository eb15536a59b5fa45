"""Damaged files of all formats: each gives an image of the announced size, or one line that names it; nothing else, and fast."""

import contextlib
import gzip
import json
import signal
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from mutated_files import H, MutatedFile, W, announce_huge_size, make_sources, mutate
from test_predict import save_checkpoint
from torch import Tensor

from sr.image import limits
from sr.image.file_format import Window
from sr.image.format.tiff_tags import LONG, SHORT, Layout, make_entry, pack_directory
from sr.image.read import open_image_file
from sr.runtime.error import UserError

FREE_BYTES = 400_000_000  # that the reader finds: bombs are refused on each machine
SECONDS = 5  # for one file
CHECKED = ("png", "cut", "suffix")  # formats and kinds of damage of which no other pixels than the right ones may come


@pytest.fixture(scope="module")
def sources() -> dict[str, bytes]:
    return make_sources()


@pytest.fixture(autouse=True)
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "measure_free_memory", lambda: FREE_BYTES)


def read_frames(path: Path) -> list[Tensor]:
    """Return all frames, after checking that they are what the header announces."""
    frames = []
    with open_image_file(path) as file:
        header = file.header
        for number in range(header.frames):
            pixels, alpha, _ = file.read(number)
            assert (*pixels.shape, pixels.dtype) == (header.channels, header.height, header.width, header.dtype)
            assert (alpha is not None) == header.has_alpha
            frames.append(pixels if alpha is None else torch.cat([pixels, alpha]))
        _ = file.metadata
    return frames


@contextlib.contextmanager
def limit_time(name: str) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError(f"{name}: more than {SECONDS} s")

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def check_files(folder: Path, sources: dict[str, bytes], files: Iterator[MutatedFile]) -> list[str]:
    """Return what is wrong with the reading of each file: an empty list."""
    right = {}
    for name, data in sources.items():
        (folder / name).write_bytes(data)
        right[name] = read_frames(folder / name)
    wrong = []
    for file in files:
        path = folder / file.name
        path.write_bytes(file.data)
        try:
            with limit_time(file.name):
                frames = read_frames(path)
        except UserError as error:
            text = str(error)
            if not text.startswith(f"{path}: ") or "\n" in text or len(text) > len(str(path)) + 300:
                wrong.append(f"{file.name}: message {text!r}")
        except Exception as error:  # also those that are the decoders'
            wrong.append(f"{file.name}: {type(error).__name__}: {error}")
        else:
            if file.kind in CHECKED or file.source.rpartition(".")[2] in CHECKED:
                pairs = zip(frames, right[file.source], strict=False)
                is_same = len(frames) == len(right[file.source]) and all(torch.equal(a, b) for a, b in pairs)
                wrong += [] if is_same else [f"{file.name}: wrong pixels, and no error"]
        path.unlink()
    return wrong


def test_a_sample_of_damaged_files_is_read_or_named(tmp_path: Path, sources: dict[str, bytes]) -> None:
    assert check_files(tmp_path, sources, mutate(sources, 120)) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_1000_damaged_files_are_read_or_named(tmp_path: Path, sources: dict[str, bytes], seed: int) -> None:
    assert check_files(tmp_path, sources, mutate(sources, 1000, seed)) == []


def test_a_bomb_of_gzip_is_not_unpacked(tmp_path: Path, sources: dict[str, bytes]) -> None:
    (tmp_path / "a.png").write_bytes(gzip.compress(sources["rgb.png"] + bytes(50_000_000), 1))
    with pytest.raises(UserError, match=r"a\.png: this is a PNG file that is compressed by gzip; unpack it first"):
        open_image_file(tmp_path / "a.png")


def test_a_frame_that_would_make_the_canvas_of_a_gif_huge_is_an_error(
    tmp_path: Path, sources: dict[str, bytes]
) -> None:
    data = bytearray(sources["frames.gif"])
    places = [k for k in range(13, len(data) - 9) if data[k : k + 9] == struct.pack("<BHHHH", 44, 0, 0, W, H)]
    data[places[-1] + 1 : places[-1] + 5] = b"\xff\xff\xff\xff"  # left and top of the last frame
    (tmp_path / "a.gif").write_bytes(data)
    with (
        pytest.raises(UserError, match=r"a\.gif: this image is damaged \(a frame exceeds its canvas\)"),
        limit_time("a.gif"),
    ):
        read_frames(tmp_path / "a.gif")


class Largest:
    """A stand-in for random numbers: each choice is the last one, both sizes, and each is the largest."""

    def choice(self, options: list) -> object:
        return options[-1] if isinstance(options[-1], tuple) else options[0]

    def random(self) -> float:
        return 0.0


@pytest.mark.parametrize(
    "name", ["rgb.png", "a.jpg", "a.gif", "a.avif", "a.bmp", "a.ppm", "a.tga", "a.jp2", "lzw.tif", "deep.png", "tiled.tif"]
)  # fmt: skip
def test_a_bomb_is_refused_before_it_is_decoded(
    tmp_path: Path, sources: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if name not in sources:
        pytest.skip("needs sr[images]")
    (tmp_path / name).write_bytes(announce_huge_size(sources[name], Largest()))
    with pytest.raises(UserError, match=r"too large to decode|more than the \d+ bytes|damaged"), limit_time(name):
        open_image_file(tmp_path / name)


def write_400_megapixels(path: Path) -> None:
    """Write a TIFF of 20,000×20,000 RGB pixels in tiles, which all share the bytes of one."""
    side, tile = 20_000, 256
    data = zlib.compress(bytes(range(256)) * (tile * tile * 3 // 256))
    count = ((side + tile - 1) // tile) ** 2
    entries = [
        make_entry(256, LONG, side), make_entry(257, LONG, side), make_entry(258, SHORT, 8, 8, 8),
        make_entry(259, SHORT, 8), make_entry(262, SHORT, 2), make_entry(277, SHORT, 3),
        make_entry(322, SHORT, tile), make_entry(323, SHORT, tile), make_entry(324, LONG, *[8] * count),
        make_entry(325, LONG, *[len(data)] * count),
    ]  # fmt: skip
    start = 8 + len(data) + len(data) % 2
    block, _ = pack_directory(entries, start, Layout())
    path.write_bytes(b"II*\0" + struct.pack("<I", start) + data.ljust(start - 8, b"\0") + block)


def test_400_megapixels_are_read_in_windows_with_little_memory(tmp_path: Path) -> None:
    pytest.importorskip("tifffile", reason="needs sr[images]")
    pytest.importorskip("imagecodecs", reason="needs sr[images]")
    write_400_megapixels(tmp_path / "a.tif")
    with open_image_file(tmp_path / "a.tif") as file:
        assert file.header[:2] == (20_000, 20_000)
        assert file.is_windowed
        pixels = file.read(0, Window(10_000, 19_000, 300, 1000)).pixels
        assert pixels.shape == (3, 300, 1000)
        with pytest.raises(UserError, match=r"too large to decode: 20000×20000 pixels need 1.2 GB at once"):
            file.read()


def test_a_png_of_180_megapixels_is_not_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Pillow's own limit is 179 million pixels; its header is all that is looked at here.
    monkeypatch.setattr(limits, "measure_free_memory", lambda: 4_000_000_000)
    header = struct.pack(">IIBBBBB", 18_000, 10_000, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", bytes(30_000)), (b"IEND", b"")]
    (tmp_path / "a.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I4s", len(data), name) + data + struct.pack(">I", zlib.crc32(name + data))
            for name, data in chunks
        )
    )
    with open_image_file(tmp_path / "a.png") as file:
        assert file.header[:2] == (10_000, 18_000)


def test_sound_files_have_the_size_that_was_written(tmp_path: Path, sources: dict[str, bytes]) -> None:
    for name, data in sources.items():
        (tmp_path / name).write_bytes(data)
        assert {frame.shape[1:] for frame in read_frames(tmp_path / name)} == {(H, W)}


@pytest.mark.slow
def test_sr_predict_upscales_the_sound_ones_of_100_damaged_files_and_names_the_others(
    tmp_path: Path, sources: dict[str, bytes], sr: Any
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    sound, damaged = set(), set()
    for file in mutate(sources, 100, seed=3):
        (folder / file.name).write_bytes(file.data)
        try:
            read_frames(folder / file.name)
            sound.add(file.name.replace(".", "_"))  # two may differ in their suffixes only
        except UserError:
            damaged.add(file.name)
    checkpoint = save_checkpoint(tmp_path / "best.ckpt")
    answer = sr(
        "predict", f"input={folder}", f"output={out}", f"checkpoint={checkpoint}", "device=cpu", "progress=false"
    )
    assert answer.code == 2
    assert "Traceback" not in answer.err
    skipped = [line for line in answer.err.splitlines() if line.startswith("skipped: ")]
    assert len(skipped) == 20 < len(damaged)  # the others are in the manifest
    left_out = json.loads((out / "predict.json").read_text())["left_out"]
    assert sorted(Path(entry["source"]).name for entry in left_out) == sorted(damaged)
    assert all("\n" not in entry["reason"] and len(entry["reason"]) > 10 for entry in left_out)
    results = [path for path in out.iterdir() if path.name != "predict.json"]
    assert len(results) == len(sound)
    for path in results:
        read_frames(path)  # whole, and no .part among them
