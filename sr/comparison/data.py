"""The comparison for programs: JSON with everything, and CSV with a line for each row or pair, in full precision."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from typing import Any

from sr.comparison.layout import format_seeds
from sr.comparison.run import ComparedRun, Group, GroupPair, RunComparison, Table, TableRow
from sr.record.json_text import to_json

SCHEMA_VERSION = 1


def format_json(comparison: RunComparison) -> str:
    """Return everything but the values of single images, which the folders of the runs have."""
    content = {
        "schema_version": SCHEMA_VERSION,
        "options": comparison.options,
        "groups": [_describe_group(group) for group in comparison.groups],
        "tables": [_describe_table(table) for table in comparison.tables],
        "skipped": [run._asdict() for run in comparison.skipped],
        "notes": comparison.notes,
    }
    return to_json(content)


def format_csv(comparison: RunComparison) -> str:
    """Return a line for each row of each table: of every metric mean, standard deviation and difference."""
    names = list(dict.fromkeys(measure.name for table in comparison.tables for measure in table.measures))
    header = ["set", "scale", "protocol", "lr", "digest", "images", "method", "kind", "runs", "seeds", "reference"]
    header += [f"{name}{end}" for name in names for end in ("", "_std", "_delta")]
    header += ["parameters", "multiply_adds_1280x720", "ms_per_image", "ntire_score"]
    lines = []
    for table in comparison.tables:
        for row in table.rows:
            cells = [row.cells.get(name, (None, None, None)) for name in names]
            lines.append([
                table.set, table.scale, table.protocol.get("protocol"), table.protocol.get("lr"), table.digest,
                len(table.images), row.name, row.kind, row.count if row.group else None,
                format_seeds(row.group) if row.group else None, table.reference, *(value for cell in cells for value in cell[:3]),
                row.parameters, row.multiply_adds, row.ms_per_image, row.ntire_score,
            ])  # fmt: skip
    return _to_csv(header, lines)


def format_pairs_csv(comparison: RunComparison) -> str:
    """Return a line for each pair of each table, with all numbers of its verdict."""
    pairs = [(table, pair) for table in comparison.tables for pair in table.pairs]
    names = list(dict.fromkeys(key for _, pair in pairs for key in _describe_result(pair)))
    header = ["set", "scale", "protocol", "first", "second", "metric", *names, "sentence"]
    lines = []
    for table, pair in pairs:
        result = _describe_result(pair)
        lines.append([
            table.set, table.scale, table.protocol.get("protocol"), pair.first, pair.second, pair.metric,
            *(result.get(name) for name in names), pair.sentence,
        ])  # fmt: skip
    return _to_csv(header, lines)


def _describe_group(group: Group) -> dict[str, Any]:
    runs = [
        {
            "id": run.id, "name": run.name, **_list_folders(run), "mlflow": run.run_id, "status": run.status,
            "seed": run.seed, "checkpoint": run.checkpoint, "notes": run.notes,
        }
        for run in group.runs
    ]  # fmt: skip
    return {"name": group.name, "differing": group.differing, "options": group.runs[0].options, "runs": runs}


def _list_folders(run: ComparedRun) -> dict[str, Any]:
    """Return the folders of a run and of its evaluations; those of a downloaded one do not outlast the comparison."""
    if run.is_downloaded or run.folder is None:
        return {"folder": None, "evaluations": []}
    return {"folder": str(run.folder), "evaluations": sorted({str(s.folder) for s in run.scores if s.folder})}


def _describe_table(table: Table) -> dict[str, Any]:
    content = {
        key: getattr(table, key) for key in ("title", "set", "scale", "protocol", "digest", "images", "reference")
    }
    content["measures"] = [measure._asdict() for measure in table.measures]
    content["rows"] = [_describe_row(row) for row in table.rows]
    content["pairs"] = [
        {"first": pair.first, "second": pair.second, "metric": pair.metric, "sentence": pair.sentence,
         **_describe_result(pair)}
        for pair in table.pairs
    ]  # fmt: skip
    return content | {"notes": table.notes}


def _describe_row(row: TableRow) -> dict[str, Any]:
    keys = ("name", "kind", "parameters", "multiply_adds", "ms_per_image", "ntire_score", "source")
    content = {key: getattr(row, key) for key in keys} | {"runs": row.count if row.group else None}
    content["metrics"] = {name: cell._asdict() for name, cell in row.cells.items()}
    content["per_run"] = [score.means for score in row.scores] if row.group else []
    return content


def _describe_result(pair: GroupPair) -> dict[str, Any]:
    """Return the numbers of a verdict by name."""
    values = pair.result.to_json_values()
    low, high = values.pop("interval") or (None, None)
    values |= {"low": low, "high": high} | ({"power": pair.power} if pair.power else {})
    first, second = values.pop("seeds")
    deterministic = values.pop("deterministic")
    return values | {"seeds_first": first, "seeds_second": second, "is_deterministic": any(deterministic)}


def _to_csv(header: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(header)
    writer.writerows([[_format(value) for value in line] for line in lines])
    return file.getvalue()


def _format(value: Any) -> Any:
    """Return a value as a program reads it: nothing for one that is missing."""
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else value
