"""Metrics as tables show them: title, digits, which values are better. It imports no torch, as the metrics do."""

import math
from collections.abc import Iterable, Sequence

from sr.comparison.run import Measure
from sr.runtime.error import UserError, suggest_nearest

KNOWN = {
    measure.name: measure
    for measure in (
        Measure("psnr", "PSNR", 2, "higher", "dB"),
        Measure("ssim", "SSIM", 4, "higher"),
        Measure("ms_ssim", "MS-SSIM", 4, "higher"),
        Measure("lr_psnr", "LR-PSNR", 2, "higher", "dB"),
        Measure("lpips", "LPIPS", 4, "lower"),
        Measure("lpips_vgg", "LPIPS-VGG", 4, "lower"),
        Measure("dists", "DISTS", 4, "lower"),
        Measure("color_shift", "color shift", 2, "lower", "ΔE"),
        Measure("spectrum", "spectrum", 2, "lower", "dB"),
        Measure("improvement_opensr", "improvement", 3, "higher"),
        Measure("omission_opensr", "omission", 3, "lower"),
        Measure("hallucination_opensr", "hallucination", 3, "lower"),
        Measure("sam", "SAM", 3, "lower", "°"),
        Measure("ergas", "ERGAS", 3, "lower"),
        Measure("warping_error_dis", "warping error", 3, "lower", "levels"),
        Measure("flicker_dis", "flicker", 3, "lower", "levels"),
        Measure("niqe_matlab", "NIQE", 3, "lower"),
        Measure("niqe_gray", "NIQE-gray", 3, "lower"),
        Measure("niqe_pirm", "NIQE-PIRM", 3, "lower"),
    )
}
ARROWS = {"higher": "↑", "lower": "↓", None: ""}


def select_measures(names: Iterable[str], columns: Sequence[str] | None) -> list[Measure]:
    """Return the metrics of a table in the order of its columns: those that the user chose, or all that there are."""
    found = list(dict.fromkeys(names))
    chosen = found if columns is None else [name for name in columns if name in found]
    order = list(KNOWN) if columns is None else list(columns)
    chosen.sort(key=lambda name: order.index(name) if name in order else len(order))
    return [KNOWN.get(name, Measure(name, name, 4, None)) for name in chosen]


def check_columns(columns: Sequence[str] | None, names: Iterable[str]) -> None:
    """Raise unless each chosen metric was measured somewhere."""
    known = sorted(set(names), key=lambda name: (list(KNOWN).index(name) if name in KNOWN else len(KNOWN), name))
    for column in columns or ():
        if column not in known:
            raise UserError(
                f"columns=[{column}]: expected metrics of these runs, {', '.join(known)}.{suggest_nearest(column, known)}"
            )


def format_number(value: float | None, digits: int) -> str:
    """Return a number with so many digits after the point; `–` if there is none, `∞` of identical images."""
    if value is None or math.isnan(value):
        return "–"
    return f"{value:.{digits}f}" if math.isfinite(value) else ("∞" if value > 0 else "-∞")


def format_difference(value: float | None, digits: int) -> str:
    """Return a difference with its sign; one that rounds to zero is `+0.00`."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:+.{digits}f}".replace(f"-{0:.{digits}f}", f"+{0:.{digits}f}")
