"""The tables of an evaluation, for the terminal and the run's description."""

import math
from collections.abc import Mapping

from sr.evaluation.profile import format_profile
from sr.inference.ntire import NTIREScore
from sr.metric.protocol import Protocol
from sr.record.result import SetResult
from sr.runtime.terminal import TABLE_WIDTH, format_table

MAX_VOLUMES = 10  # of each set, in the table
ARROWS = {"higher": "↑", "lower": "↓"}  # which values of a metric are better


def format_report(results: Mapping[str, SetResult], protocol: Protocol, cost: str) -> str:
    """Return the tables of all sets, the line `cost` about the net, and the notes."""
    parts = [format_table(_list_main_rows(results), TABLE_WIDTH)]
    if protocol.also and results:
        parts.append(format_table(_list_metric_rows(results, protocol), TABLE_WIDTH))
        parts += _list_metric_times(results)
    if any(result.per_volume for result in results.values()):
        parts.append(format_table(_list_volume_rows(results), TABLE_WIDTH))
    if any(result.published for result in results.values()):
        references = {f"{name} {r.published['model']}": (r, r.published) for name, r in results.items() if r.published}
        parts.append(format_table(_list_reference_rows(references, "published", digits=2), TABLE_WIDTH))
    if any(result.against for result in results.values()):
        references = {name: (r, r.against) for name, r in results.items() if r.against}
        parts.append(format_table(_list_reference_rows(references, "against", digits=3), TABLE_WIDTH))
    if any(result.uncertainty for result in results.values()):
        parts.append(format_table(_list_uncertainty_rows(results), TABLE_WIDTH))
    parts += [format_profile(name, result.profile) for name, result in results.items() if result.profile]
    parts += [cost] if cost else []
    notes = list_notes(results)
    return "\n\n".join([*parts, *(["\n".join(notes)] if notes else [])])


def _list_metric_times(results: Mapping[str, SetResult]) -> list[str]:
    """Return a line with what each metric costs, the mean over all images; empty if it was not measured."""
    timed = [result for result in results.values() if result.metrics_ms]
    count = sum(result.count for result in timed)
    names = list(dict.fromkeys(name for result in timed for name in result.metrics_ms))
    means = {name: sum(r.metrics_ms.get(name, 0) * r.count for r in timed) / count for name in names}
    costs = ", ".join(f"{name} {milliseconds:.0f}" for name, milliseconds in means.items())
    return [f"ms/image of the metrics, for the result and bicubic interpolation: {costs}"] if means else []


def format_cost(parameters: int | None, multiply_adds: int | None, ntire_score: NTIREScore | None = None) -> str:
    """Return a line such as `694,404 parameters; multiply-adds for a 1280×720 output: 158.8 G`; empty without a net."""
    if not parameters:
        return ""
    work = f"{multiply_adds / 1e9:,.1f} G" if multiply_adds is not None else "unknown"
    line = f"{parameters:,} parameters; multiply-adds for a 1280×720 output: {work}"
    if ntire_score is None:
        return line
    protocol = ntire_score.protocol
    ratios = ", ".join(
        f"{name.replace('_', '-')} {protocol[name]:.2f}" for name in ("time", "multiply_adds", "parameters")
    )
    return f"{line}\nNTIRE score {ntire_score.value:.2f} ({protocol['baseline']}: 7.39; relative to it {ratios})"


def _list_main_rows(results: Mapping[str, SetResult]) -> list[tuple[str, ...]]:
    is_timed = any(result.ms_per_image is not None for result in results.values())
    rows = [("set", "n", "PSNR", "SSIM", "bicubic", "Δ dB", *(("ms/image", "MB/image") if is_timed else ()))]
    for name, result in results.items():
        psnr, bicubic = result.metrics["psnr"], result.bicubic["psnr"]
        cells = (name, str(result.count), f"{psnr:.2f}", f"{result.metrics['ssim']:.4f}", f"{bicubic:.2f}")
        cells += (_format_difference(psnr - bicubic, 2),)
        rows.append((*cells, f"{result.ms_per_image:.0f}", f"{result.peak_memory_mb:.0f}") if is_timed else cells)
    return rows


def _list_volume_rows(results: Mapping[str, SetResult]) -> list[tuple[str, ...]]:
    """Return the values of whole volumes; of many only the first ones, all are in evaluate.json."""
    rows = [("volume or scene", "parts", "PSNR", "SSIM", "bicubic", "Δ dB")]
    for name, result in results.items():
        for volume, values in list(result.per_volume.items())[:MAX_VOLUMES]:
            psnr, bicubic = values["psnr"], values["bicubic_psnr"]
            cells = (f"{psnr:.2f}", f"{values['ssim']:.4f}", f"{bicubic:.2f}", _format_difference(psnr - bicubic, 2))
            rows.append((f"{name}/{volume}", str(values["count"]), *cells))
    return rows


def _list_metric_rows(results: Mapping[str, SetResult], protocol: Protocol) -> list[tuple[str, ...]]:
    """Return the further metrics, with those of bicubic in parentheses."""
    rows = [("set (bicubic)", *(f"{name} {ARROWS[metric.better]}" for name, metric in protocol.also.items()))]
    for name, result in results.items():
        values = [(result.metrics[key], result.bicubic[key]) for key in protocol.also]
        rows.append((name, *(f"{_format_value(value)} ({_format_value(bicubic)})" for value, bicubic in values)))
    return rows


def _list_uncertainty_rows(results: Mapping[str, SetResult]) -> list[tuple[str, ...]]:
    """Return spread and error in levels, their rank correlation, and the share of the error where the spread is largest."""
    rows = [("uncertainty", "spread", "error", "rank corr.", "top 10 %", "possible", "LR error")]
    for name, result in results.items():
        if result.uncertainty:
            values = result.uncertainty.metrics
            keys = ("spread", "error", "rank_correlation", "top_share", "best_share", "lr_error")
            rows.append((name, *(_format_level(values.get(key, math.nan)) for key in keys)))
    return rows


def _format_level(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


def _list_reference_rows(
    references: Mapping[str, tuple[SetResult, Mapping[str, float]]], title: str, digits: int
) -> list[tuple[str, ...]]:
    """Return the PSNR, to so many digits, and the SSIM of each set and its reference, and their differences."""
    rows = [(f"compared with {title}", "PSNR", title, "Δ dB", "SSIM", title, "Δ")]
    for label, (result, reference) in references.items():
        psnr, ssim = result.metrics["psnr"], result.metrics["ssim"]
        rounded = round(psnr, digits) if digits == 2 else psnr  # as papers round before they compare
        rows.append(
            (
                label,
                f"{psnr:.{digits}f}",
                f"{reference['psnr']:.{digits}f}",
                _format_difference(rounded - reference["psnr"], digits),
                f"{ssim:.4f}",
                f"{reference['ssim']:.4f}",
                _format_difference(round(ssim, 4) - reference["ssim"], 4),
            )
        )
    return rows


def list_notes(results: Mapping[str, SetResult]) -> list[str]:
    """Return the notes about all sets, each with the name of its set."""
    lines = []
    for name, result in results.items():
        cause = (result.published or {}).get("likely_cause")
        if cause:
            difference = result.published["delta_psnr"]
            lines.append(f"{name}: {difference:+.3f} dB from the published value. Likely cause: {cause}")
        lines += [
            f"{name}: LEAK, in the training set of this net {leak}: the result is too good" for leak in result.leaks
        ]
        lines += [f"{name}: {note}" for note in result.notes]
    return lines


def _format_difference(value: float, digits: int) -> str:
    """Return a difference with its sign; zero always as +0."""
    return f"{value:+.{digits}f}".replace(f"-{0:.{digits}f}", f"+{0:.{digits}f}") if math.isfinite(value) else "–"


def _format_value(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4f}" if abs(value) < 1 else f"{value:.2f}"
