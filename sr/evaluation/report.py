"""The table of an evaluation, as it stands in the terminal and in the run's description."""

import math
from collections.abc import Mapping
from typing import Any

from sr.metric.protocol import Protocol
from sr.runtime import terminal

SIGNS = {"higher": "↑", "lower": "↓"}


def format_report(sets: Mapping[str, Mapping[str, Any]], protocol: Protocol, cost: str) -> str:
    """All sets under one protocol; `cost` is the line about the net."""
    parts = [terminal.format_table(_main(sets))]
    if protocol.also and sets:
        parts.append(terminal.format_table(_also(sets, protocol)))
    for title, key in (("published", "published"), ("against", "against")):
        if any(key in found for found in sets.values()):
            parts.append(terminal.format_table(_beside(sets, title, key)))
    parts += [cost] if cost else []
    return "\n\n".join([*parts, *_remarks(sets)])


def format_cost(parameters: int | None, multiply_adds: int | None) -> str:
    """`694,404 parameters, 158.8 G multiply-adds for a 1280×720 output`."""
    if not parameters:
        return ""
    work = f"{multiply_adds / 1e9:,.1f} G" if multiply_adds is not None else "unknown"
    return f"{parameters:,} parameters; multiply-adds for a 1280×720 output: {work}"


def _main(sets: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, ...]]:
    timed = any("ms_per_image" in found for found in sets.values())
    rows = [("set", "n", "PSNR", "SSIM", "bicubic", "Δ dB", *(("ms/image", "MB/image") if timed else ()))]
    for name, found in sets.items():
        guess = found["bicubic"]["psnr"]
        cells = (name, str(found["n"]), f"{found['psnr']:.2f}", f"{found['ssim']:.4f}", f"{guess:.2f}")
        cells += (_gap(found["psnr"] - guess, 2),)
        rows.append((*cells, f"{found['ms_per_image']:.0f}", f"{found['peak_memory_mb']:.0f}") if timed else cells)
    return rows


def _also(sets: Mapping[str, Mapping[str, Any]], protocol: Protocol) -> list[tuple[str, ...]]:
    """The further measures, bicubic's in brackets."""
    rows = [("set (bicubic)", *(f"{name} {SIGNS[measure.better]}" for name, measure in protocol.also.items()))]
    for name, found in sets.items():
        rows.append((name, *(f"{_value(found[key])} ({_value(found['bicubic'][key])})" for key in protocol.also)))
    return rows


def _beside(sets: Mapping[str, Mapping[str, Any]], title: str, key: str) -> list[tuple[str, ...]]:
    rows = [(f"beside {title}", "PSNR", title, "Δ dB", "SSIM", title, "Δ")]
    for name, found in sets.items():
        if key not in found:
            continue
        there = found[key]
        digits = 2 if key == "published" else 3
        gap = round(found["psnr"], digits) - there["psnr"] if digits == 2 else found["psnr"] - there["psnr"]
        rows.append(
            (
                f"{name}{' ' + there['model'] if 'model' in there else ''}",
                f"{found['psnr']:.{digits}f}",
                f"{there['psnr']:.{digits}f}",
                _gap(gap, digits),
                f"{found['ssim']:.4f}",
                f"{there['ssim']:.4f}",
                _gap(round(found["ssim"], 4) - there["ssim"], 4),
            )
        )
    return rows


def _remarks(sets: Mapping[str, Mapping[str, Any]]) -> list[str]:
    lines = []
    for name, found in sets.items():
        cause = found.get("published", {}).get("likely_cause")
        if cause:
            lines.append(
                f"{name}: {found['published']['delta_psnr']:+.3f} dB from the published value. Likely: {cause}"
            )
        lines += [
            f"{name}: LEAK, in this net's training {leak}: the number is too good" for leak in found.get("leaks", ())
        ]
        lines += [f"{name}: {note}" for note in found.get("notes", ())]
    return ["\n".join(lines)] if lines else []


def _gap(value: float, digits: int) -> str:
    return f"{value:+.{digits}f}".replace(f"-{0:.{digits}f}", f"+{0:.{digits}f}") if math.isfinite(value) else "–"


def _value(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4f}" if abs(value) < 1 else f"{value:.2f}"
