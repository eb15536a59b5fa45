"""The tables that a training prints at its end."""

import math
from collections.abc import Iterable, Mapping

from sr.metric.key import MetricKey, SetKey, StepMetrics
from sr.runtime.terminal import TABLE_WIDTH, format_table


def format_metrics_table(metrics: Mapping[MetricKey, float], bicubic: Mapping[MetricKey, float]) -> str:
    """Return the table of `list_metric_rows` as text."""
    return format_table(list_metric_rows(metrics, bicubic), TABLE_WIDTH)


def list_metric_rows(metrics: Mapping[MetricKey, float], bicubic: Mapping[MetricKey, float]) -> list[tuple[str, ...]]:
    """Return one row for each set: bicubic, this run, Δ dB, SSIM and the other metrics, each with bicubic's value.

    The header is the first row. Sets that bicubic interpolation was not evaluated on are left out, and so are metrics of
    the raw weights.
    """
    sets = sorted(SetKey(key.stage, key.set) for key in metrics if key.measure == "psnr" and key in bicubic)
    others = dict.fromkeys(key.measure for key in metrics if key in bicubic)  # each once, in their order
    others = [name for name in others if name not in ("psnr", "ssim")]
    rows = [("set", "bicubic", "this run", "Δ dB", "SSIM (bicubic)", *(f"{name} (bicubic)" for name in others))]
    for evaluated in sets:
        run_psnr, bicubic_psnr = (values[evaluated.metric("psnr")] for values in (metrics, bicubic))
        pairs = [[values.get(evaluated.metric(name)) for values in (metrics, bicubic)] for name in ("ssim", *others)]
        gain = f"{run_psnr - bicubic_psnr:+.2f}" if math.isfinite(run_psnr - bicubic_psnr) else "–"
        cells = ("–" if None in pair else f"{pair[0]:.4f} ({pair[1]:.4f})" for pair in pairs)
        rows.append((str(evaluated), f"{bicubic_psnr:.2f}", f"{run_psnr:.2f}", gain, *cells))
    return rows


def format_checkpoint_table(checkpoints: Mapping[str, StepMetrics], keys: Iterable[MetricKey]) -> str:
    """Return one row for each checkpoint file: its name, its step, and the metrics `keys` at that step, each once."""
    keys = list(dict.fromkeys(keys))
    rows = [("checkpoint", "step", *map(str, keys))]
    for name, best in checkpoints.items():
        digits = {key: 2 if key.measure == "psnr" else 4 for key in keys}
        cells = (f"{best.values[key]:.{digits[key]}f}" if key in best.values else "–" for key in keys)
        rows.append((name, best.step, *cells))
    return format_table(rows, TABLE_WIDTH)
