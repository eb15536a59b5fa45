"""PNG files with 16 bits per channel: every bit is decoded, as ImageMagick wrote it, and damage is reported."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from sr.image.format.png16 import decode_png16
from sr.runtime.error import UserError

pytest.importorskip("imagecodecs", reason="needs sr[images]")


@pytest.mark.parametrize(("kind", "channels"), [("gray", 1), ("gray-alpha", 2), ("rgb", 3), ("rgba", 4)])
def test_decodes_every_bit_that_imagemagick_wrote(tmp_path: Path, kind: str, channels: int) -> None:
    if not shutil.which("convert"):
        pytest.skip("needs ImageMagick's convert")
    values = np.random.default_rng(0).integers(0, 1 << 16, (5, 7, channels), dtype=np.uint16)
    (tmp_path / "raw").write_bytes(values.tobytes())
    depth = ["-size", "7x5", "-depth", "16", "-endian", "LSB"]
    # GrayA is not a raw format of ImageMagick: a gray plane, and another one as its alpha.
    if kind == "gray-alpha":
        for index, name in enumerate(("v", "a")):
            (tmp_path / name).write_bytes(values[:, :, index].tobytes())
        source = [f"gray:{tmp_path}/v", f"gray:{tmp_path}/a", "-alpha", "off", "-compose", "CopyOpacity", "-composite"]
    else:
        source = [f"{kind}:{tmp_path}/raw"]
    color_type = {"gray": 0, "gray-alpha": 4, "rgb": 2, "rgba": 6}[kind]
    define = ["-define", "png:bit-depth=16", "-define", f"png:color-type={color_type}"]
    subprocess.run(["convert", *depth, *source, *define, tmp_path / "a.png"], check=True)
    decoded = decode_png16(tmp_path / "a.png")
    assert decoded.dtype == np.uint16
    assert np.array_equal(decoded, values)


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (9, 13)])
def test_an_interlaced_file_is_decoded_without_a_warning(
    tmp_path: Path, capfd: pytest.CaptureFixture, size: tuple[int, int]
) -> None:
    import imagecodecs

    if not shutil.which("convert"):
        pytest.skip("needs ImageMagick's convert")
    values = np.random.default_rng(0).integers(0, 1 << 16, (*size, 3), dtype=np.uint16)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(values))
    subprocess.run(["convert", tmp_path / "a.png", "-interlace", "PNG", f"PNG48:{tmp_path}/b.png"], check=True)
    assert (tmp_path / "b.png").read_bytes()[28] == 1
    assert np.array_equal(decode_png16(tmp_path / "b.png"), values)
    assert capfd.readouterr().err == ""


def test_a_flipped_bit_and_a_truncated_file_are_errors(tmp_path: Path) -> None:
    import imagecodecs

    data = imagecodecs.png_encode(np.arange(60, dtype=np.uint16).reshape(4, 5, 3) * 1000)
    for name, bytes_ in (("cut", data[:-20]), ("flip", data[:70] + bytes([data[70] ^ 1]) + data[71:])):
        path = tmp_path / f"{name}.png"
        path.write_bytes(bytes_)
        with pytest.raises(UserError, match=rf"{name}\.png: this image is damaged \(.+\); replace or remove it"):
            decode_png16(path)


def test_an_8_bit_file_is_refused(tmp_path: Path) -> None:
    import imagecodecs

    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(np.zeros((2, 2, 3), np.uint8)))
    with pytest.raises(UserError, match="expected 16 bits per channel, found 8"):
        decode_png16(tmp_path / "a.png")


def test_without_the_extra_the_error_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "imagecodecs", None)
    with pytest.raises(UserError, match=r"a\.png: .* needs imagecodecs: pip install 'sr\[images\]'"):
        decode_png16(tmp_path / "a.png")
