"""The results of an evaluation without HR: a row for each image, and the mean."""

import math
from collections.abc import Iterator, Mapping

from sr.evaluation.report import EvaluationReport
from sr.evaluation.tables import ARROWS, format_cost, list_notes
from sr.record.result import SetResult
from sr.runtime.terminal import TABLE_WIDTH, format_count, format_table

MAX_ROWS = 50  # images that the table shows; all are in evaluate.json
MAX_NAMES = 5  # images that a note names
BICUBIC = "bicubic_"  # before the name of a metric of an image


class NoReferenceReport(EvaluationReport):
    """The report of such a run."""

    def _format_tables(self) -> str:
        tables = [self._format_table(name, result) for name, result in self.results.items()]
        cost = format_cost(self.predictor.parameters, self.predictor.multiply_adds)
        notes = "\n".join(list_notes(self.results))
        return "\n\n".join([*tables, *([cost] if cost else []), *([notes] if notes else [])])

    def _format_table(self, name: str, result: SetResult) -> str:
        """Return the values of the images, with those of bicubic in parentheses, and the means."""
        metrics = self.protocol.also
        rows = [
            (f"{name}{' (bicubic)' * bool(result.bicubic)}", *(f"{m} {ARROWS[metrics[m].better]}" for m in metrics))
        ]
        shown = list(result.per_image.items())[:MAX_ROWS]
        rows += [(image, *_format_cells(values, metrics, BICUBIC)) for image, values in shown]
        hidden = result.count - len(shown)
        rows += [(f"… {hidden} more, in evaluate.json", *("" for _ in metrics))] * bool(hidden)
        means = result.metrics | {f"{BICUBIC}{key}": value for key, value in result.bicubic.items()}
        rows.append((f"mean of {format_count(result.count, 'image')}", *_format_cells(means, metrics, BICUBIC)))
        return format_table(rows, TABLE_WIDTH)


def describe_missing(result: SetResult, sizes: Mapping[str, tuple[int, int]]) -> Iterator[str]:
    """Yield a note for each metric that some images have no value of; `sizes` (H, W) of the results by name."""
    for metric in result.metrics:
        missing = [name for name, values in result.per_image.items() if math.isnan(values[metric])]
        if missing:
            names = [f"{name} ({sizes[name][1]}×{sizes[name][0]})" for name in missing[:MAX_NAMES]]
            names += ["…"] * (len(missing) > MAX_NAMES)
            yield (
                f"{metric}: {len(missing)} of {result.count} images have no value and are not in the mean, for they are too "
                f"small or have no structure: {', '.join(names)}"
            )


def _format_cells(values: Mapping[str, float], metrics: Mapping[str, object], prefix: str) -> Iterator[str]:
    for name in metrics:
        bicubic = f" ({_format_value(values[prefix + name])})" if prefix + name in values else ""
        yield f"{_format_value(values[name])}{bicubic}"


def _format_value(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"
