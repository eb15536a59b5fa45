"""Lay out tables as text: the same rows for the terminal, Markdown and LaTeX, with the best and the second best marked."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from sr.comparison.measure import ARROWS, format_difference, format_number
from sr.comparison.run import Group, Measure, RunComparison, Table, TableRow

BEST, SECOND = 1, 2
NO_VALUE = "–"


class TextCell(NamedTuple):
    """A cell as text; `rank` is `BEST`, `SECOND` or 0."""

    text: str
    rank: int = 0


def lay_out_table(table: Table) -> list[list[TextCell]]:
    """Return the cells of a table, the header first. Costs that no row has get no column."""
    columns = [[TextCell("method"), *(TextCell(row.name) for row in table.rows)]]
    columns.append([TextCell("runs"), *(TextCell(_format_count(row)) for row in table.rows)])
    for k, measure in enumerate(table.measures):
        columns.append(_lay_out_measure(measure, table.rows))
        if k == 0 and any(
            row.cells[measure.name].difference is not None for row in table.rows if measure.name in row.cells
        ):
            columns.append(_lay_out_difference(measure, table.rows))
        if k == min(1, len(table.measures) - 1):
            columns += _lay_out_costs(table.rows)
    return [list(row) for row in zip(*columns, strict=True)]


def lay_out_sets(tables: Sequence[Table], most: int = 2) -> list[list[TextCell]]:
    """Return one table of several sets, the header first: of each set the first `most` metrics. All are of one scale and
    protocol; a method without a result on a set has a dash there."""
    names = list(dict.fromkeys(row.name for table in tables for row in table.rows))
    columns = [[TextCell("method"), *map(TextCell, names)]]
    for table in tables:
        rows = {row.name: k for k, row in enumerate(table.rows)}
        for measure in table.measures[:most]:
            header, *cells = _lay_out_measure(measure, table.rows)
            columns.append([header, *(cells[rows[name]] if name in rows else TextCell(NO_VALUE) for name in names)])
    return [list(row) for row in zip(*columns, strict=True)]


def lay_out_options(comparison: RunComparison) -> list[list[TextCell]]:
    """Return a table of the options that differ between groups, the header first; empty if there is one group."""
    if len(comparison.groups) < 2:
        return []
    rows = [["group", "runs", "seeds", *comparison.options]]
    for group in comparison.groups:
        values = [group.differing.get(option, NO_VALUE) for option in comparison.options]
        rows.append([group.name, str(len(group.runs)), format_seeds(group), *values])
    return [[TextCell(text) for text in row] for row in rows]


def format_seeds(group: Group) -> str:
    """Return `0, 1, 2`, or a dash for runs without a seed."""
    seeds = [run.seed for run in group.runs if run.seed is not None]
    return ", ".join(map(str, seeds)) or NO_VALUE


def format_parameters(count: int | None) -> str:
    """Return `27 K`, `1.37 M`."""
    if count is None:
        return NO_VALUE
    if count < 1e6:
        return f"{count / 1e3:.1f} K" if count < 1e5 else f"{count / 1e3:.0f} K"
    return f"{count / 1e6:.2f} M"


def _format_count(row: TableRow) -> str:
    return str(row.count) if row.kind == "group" else NO_VALUE


def _lay_out_measure(measure: Measure, rows: Sequence[TableRow]) -> list[TextCell]:
    ranks = _rank(measure, rows)
    cells = [TextCell(f"{measure.title} {ARROWS[measure.better]}".strip())]
    for row, rank in zip(rows, ranks, strict=True):
        cell = row.cells.get(measure.name)
        text = format_number(cell.mean if cell else None, measure.digits)
        if cell and cell.deviation is not None:
            text += f" ± {cell.deviation:.{measure.digits}f}"
        cells.append(TextCell(text, rank))
    return cells


def _rank(measure: Measure, rows: Sequence[TableRow]) -> list[int]:
    """Rank the methods by the values that are printed, so that equal ones are marked equally; bicubic is not ranked."""
    printed = [
        round(cell.mean, measure.digits)
        if (cell := row.cells.get(measure.name)) and row.kind != "bicubic"
        else math.nan
        for row in rows
    ]
    values = sorted({value for value in printed if not math.isnan(value)}, reverse=measure.better == "higher")
    if measure.better is None or sum(not math.isnan(value) for value in printed) < 2:
        return [0] * len(rows)
    marks = dict(zip(values, (BEST, SECOND), strict=False))
    return [marks.get(value, 0) for value in printed]


def _lay_out_difference(measure: Measure, rows: Sequence[TableRow]) -> list[TextCell]:
    values = [cell.difference if (cell := row.cells.get(measure.name)) else None for row in rows]
    return [TextCell(f"Δ {measure.unit}".strip()), *(TextCell(format_difference(v, measure.digits)) for v in values)]


def _lay_out_costs(rows: Sequence[TableRow]) -> list[list[TextCell]]:
    work = [None if row.multiply_adds is None else row.multiply_adds / 1e9 for row in rows]
    columns = []
    if any(row.parameters is not None for row in rows):
        columns.append(["params", *(format_parameters(row.parameters) for row in rows)])
    if any(value is not None for value in work):
        columns.append(["G mult-adds", *(format_number(value, 1) for value in work)])
    if any(row.ms_per_image is not None for row in rows):
        columns.append(["ms/image", *(format_number(row.ms_per_image, 0) for row in rows)])
    if any(row.ntire_score is not None for row in rows):
        columns.append(["NTIRE", *(format_number(row.ntire_score, 2) for row in rows)])
    return [[TextCell(text) for text in column] for column in columns]
