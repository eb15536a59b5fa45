"""State the screen on which an HDR video was mastered: from FFmpeg's structures to the options of encoders."""

import struct
from collections.abc import Mapping

MASTERING, LIGHT = "MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"
_MASTERING = struct.Struct("=20i2i")  # ten fractions: primaries R, G, B, white point (x, y each), luminance; two flags


def describe_hdr(data: Mapping[str, bytes], codec: str) -> tuple[list[str], list[str]]:
    """Return the options of x265 or SVT-AV1 that state the same, and the names of what the codec does not get."""
    names = {MASTERING: "mastering display (HDR10)", LIGHT: "content light level (HDR10)"}
    if codec not in ("hevc", "av1"):
        return [], [names[name] for name in data]
    options, lost = [], []
    if MASTERING in data:
        option = _describe_mastering(data[MASTERING], codec)
        options += [option] * bool(option)
        lost += [names[MASTERING]] * (not option)
    if LIGHT in data:
        content, frame = struct.unpack_from("=2I", data[LIGHT])
        options.append(f"{'max-cll' if codec == 'hevc' else 'content-light'}={content},{frame}")
    return options, lost


def _describe_mastering(data: bytes, codec: str) -> str:
    numbers = _MASTERING.unpack_from(data)
    if not all(numbers[20:]) or not all(numbers[1:20:2]):
        return ""
    values = [numbers[k] / numbers[k + 1] for k in range(0, 20, 2)]
    points = dict(zip("RGBW", zip(values[0:8:2], values[1:8:2], strict=True), strict=True))
    darkest, brightest = values[8:]
    if codec == "hevc":  # in steps of 0.00002 and 0.0001 cd/m²
        text = "".join(
            f"{'WP' if name == 'W' else name}({round(x * 50000)},{round(y * 50000)})"
            for name, (x, y) in ((name, points[name]) for name in "GBRW")
        )
        return f"master-display={text}L({round(brightest * 10000)},{round(darkest * 10000)})"
    text = "".join(
        f"{'WP' if name == 'W' else name}({x:.5f},{y:.5f})"
        for name, (x, y) in ((name, points[name]) for name in "GBRW")
    )
    return f"mastering-display={text}L({brightest:.4f},{darkest:.4f})"
