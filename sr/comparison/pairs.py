"""Compare the groups of a table pair by pair, image by image: is a difference more than noise?"""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from sr.comparison.power import describe_power, estimate_power
from sr.comparison.run import GroupPair, Measure, Table, TableRow
from sr.comparison.shared_images import align_groups
from sr.comparison.significance import compare_groups
from sr.comparison.verdict import correct_pairs, describe_verdict

MAX_GROUPS = 10  # in a table of more, not every pair is compared: nobody reads thousands of verdicts
BICUBIC_PREFIX = "bicubic_"


def add_pairs(table: Table, power: float | None = None) -> None:
    """Add the verdicts of a table's pairs by its first metric, corrected for all of them.

    `power` is a difference in the unit of the metric: how likely the groups that there are show it, and what it takes.
    """
    if not table.measures or table.measures[0].better is None:
        return
    measure = table.measures[0]
    rows = [row for row in table.rows if _list_values(row, measure, table)]
    chosen = list(_choose_pairs(table, rows))
    names = {row.name for pair in chosen for row in pair}
    values, images, _ = align_groups({row.name: _list_values(row, measure, table) for row in rows if row.name in names})
    fixed = {row.name: row.group is None or all(run.seed is None for run in row.group.runs) for row in rows}
    results = correct_pairs([
        compare_groups(values[a.name], values[b.name], measure.better == "higher", (fixed[a.name], fixed[b.name]))
        for a, b in chosen
    ])  # fmt: skip
    for (a, b), result in zip(chosen, results, strict=True):
        sentence = describe_verdict(result, measure.unit, table.set, measure.digits)
        needed = "" if power is None else _describe_power(values[a.name], values[b.name], power, result.pairs, measure)
        table.pairs.append(
            GroupPair(first=a.name, second=b.name, metric=measure.name, images=images, result=result, sentence=sentence,
                      power=needed)
        )  # fmt: skip


def _choose_pairs(table: Table, rows: Sequence[TableRow]) -> Iterator[tuple[TableRow, TableRow]]:
    """Yield the pairs, the one with the better mean first: all, or with many groups those with the reference, else those
    of the best. A single group is compared with bicubic."""
    groups = [row for row in rows if row.kind == "group"]
    if len(groups) <= 1:
        bicubic = [row for row in rows if row.kind == "bicubic"]
        yield from itertools.product(groups, bicubic)
    elif len(groups) <= MAX_GROUPS:
        yield from itertools.combinations(groups, 2)
    elif any(row.name == table.reference for row in groups):
        table.notes.append(f"of {len(groups)} groups, each is compared with {table.reference} alone")
        reference = next(row for row in groups if row.name == table.reference)
        place = groups.index(reference)
        yield from ((row, reference) if k < place else (reference, row) for k, row in enumerate(groups) if k != place)
    else:
        table.notes.append(
            f"of {len(groups)} groups, the {MAX_GROUPS} best are compared in pairs; reference=GROUP compares each with one"
        )
        yield from itertools.combinations(groups[:MAX_GROUPS], 2)


def _list_values(row: TableRow, measure: Measure, table: Table) -> list[dict[str, float]]:
    """Return the value of each image, for each run of the row; empty if one has none.

    Those of bicubic interpolation were measured by each run: the first one's are taken.
    """
    key = f"{BICUBIC_PREFIX}{measure.name}" if row.kind == "bicubic" else measure.name
    scores = [score for other in table.rows for score in other.scores][:1] if row.kind == "bicubic" else row.scores
    runs = [{image: values[key] for image, values in score.per_image.items() if key in values} for score in scores]
    return runs if runs and all(runs) else []


def _describe_power(a: np.ndarray, b: np.ndarray, power: float, pairs: int, measure: Measure) -> str:
    is_finite = np.isfinite(a).all(axis=0) & np.isfinite(b).all(axis=0)
    if int(is_finite.sum()) < 2:
        return f"nothing can be said of a difference of {power:g} on fewer than two images"
    return describe_power(estimate_power(a, b, power, pairs), measure.unit, measure.digits)
