"""Make the tables: one for each set, scale, protocol, degradation and content of the images."""

import math
import statistics
from collections.abc import Iterable, Sequence

from sr.comparison.content import Comparable, Result, sort_results
from sr.comparison.measure import select_measures
from sr.comparison.read import compute_means, is_trained
from sr.comparison.run import Group, Measure, SetScore, Table, TableCell, TableRow
from sr.evaluation.published import SET_SIZES, find_row, list_other_protocols
from sr.metric.standard import describe_rounding, describe_standard_lr
from sr.record.result import Metrics

BICUBIC = "bicubic"  # the name of its row
MAX_SHOWN = 60  # characters of a value in a title
FOLLOWING_KEYS = ("border",)  # of a protocol, that follow from others: the border is the scale
UNTRAINED_TOLERANCE = 0.001  # dB, between a net and bicubic; a net that learns is not so close on a whole set
BICUBIC_TOLERANCE = 0.005  # dB, between the bicubic means of two runs with the same LR images


def make_tables(
    groups: Sequence[Group], reference: str | None, columns: Sequence[str] | None, published: Sequence[str]
) -> list[Table]:
    """Return the tables; `reference` is the name of a group (None: bicubic), `published` are names of models."""
    contents = sort_results(groups)
    tables = [_make_table(one, reference, columns, published) for same in contents for one in same]
    _format_titles(tables)
    return tables


def describe_splits(tables: Sequence[Table]) -> list[str]:
    """Return for each set with several tables in which keys they differ, scale apart: the titles show that."""
    notes = []
    for name in dict.fromkeys(table.set for table in tables):
        same_set = [table for table in tables if table.set == name]
        for scale in dict.fromkeys(table.scale for table in same_set):
            same = [table for table in same_set if table.scale == scale]
            keys = find_differing_keys(same)
            for key in keys:
                values = "; ".join(
                    f"{_cut(table.protocol.get(key, '–'))} ({', '.join(row.name for row in table.rows if row.group)})"
                    for table in same
                )
                notes.append(f"{name} ×{scale}: tables of their own, for {key} differs: {values}")
    return notes


def find_differing_keys(tables: Sequence[Table]) -> list[str]:
    """Return the keys of the protocol that differ between tables."""
    keys = dict.fromkeys(key for table in tables for key in table.protocol)
    differing = [key for key in keys if len({str(table.protocol.get(key)) for table in tables}) > 1]
    return [key for key in differing if key not in FOLLOWING_KEYS or "scale" not in differing]


def _make_table(
    content: Comparable, reference: str | None, columns: Sequence[str] | None, published: Sequence[str]
) -> Table:
    first = content.results[0].score
    images = [name for name in content.all_images if name in content.images]
    own = {id(result.score): _restrict_means(result.score, images) for result in content.results}
    measures = select_measures((name for means, _ in own.values() for name in means), columns)
    rows = [_make_group_row(group, content.results, own, measures) for group in _list_groups(content.results)]
    _sort_rows(rows, measures)
    whole = len(images) == len(content.all_images)
    models, notes = _make_published_rows(published, first, len(images) if whole else 0)
    bicubic = _make_bicubic_row([bicubic for _, bicubic in own.values()], measures)
    table = Table(
        set=first.set, scale=first.scale, protocol=first.protocol, images=images, digest=_find_digest(content, images),
        measures=measures, rows=[*bicubic, *models, *rows], reference=reference or BICUBIC,
        notes=[*content.differs, *content.describe_missing(), *notes],
    )  # fmt: skip
    table.notes += [*_describe_runs(rows), *_describe_metrics(rows, measures)]
    table.notes += _describe_untrained(rows, own)
    table.notes += _describe_bicubic([bicubic for _, bicubic in own.values()])
    _add_differences(table)
    return table


def _restrict_means(score: SetScore, images: Sequence[str]) -> tuple[Metrics, Metrics]:
    """Return the means of a result and of bicubic over these images."""
    if len(images) == len(score.per_image):
        return score.means, score.bicubic
    return compute_means({name: score.per_image[name] for name in images})


def _list_groups(results: Iterable[Result]) -> list[Group]:
    return list({id(result.group): result.group for result in results}.values())


def _make_group_row(
    group: Group, results: Sequence[Result], means: dict[int, tuple[Metrics, Metrics]], measures: Sequence[Measure]
) -> TableRow:
    own = [result for result in results if result.group is group]
    cells = {}
    for measure in measures:
        values = [value for result in own if (value := means[id(result.score)][0].get(measure.name)) is not None]
        if values:
            cells[measure.name] = TableCell(_mean(values), _deviation(values), runs=len(values))
    milliseconds = [result.score.ms_per_image for result in own if result.score.ms_per_image is not None]
    known = next((result.run for result in own if result.run.parameters is not None), own[0].run)
    scores = [result.run.ntire_score for result in own if result.run.ntire_score is not None]
    return TableRow(
        name=group.name, cells=cells, group=group, runs=[result.run for result in own], scores=[result.score for result in own],
        parameters=known.parameters, multiply_adds=known.multiply_adds,
        ms_per_image=statistics.median(milliseconds) if milliseconds else None,
        ntire_score=statistics.median(scores) if scores else None,
    )  # fmt: skip


def _make_bicubic_row(bicubic: Sequence[Metrics], measures: Sequence[Measure]) -> list[TableRow]:
    cells = {}
    for measure in measures:
        values = [means[measure.name] for means in bicubic if measure.name in means]
        if values:
            cells[measure.name] = TableCell(_mean(values))
    return [TableRow(name=BICUBIC, kind="bicubic", cells=cells)] if cells else []


def _make_published_rows(models: Sequence[str], score: SetScore, count: int) -> tuple[list[TableRow], list[str]]:
    """Return the rows of published models, and why a model has none; `count` images were evaluated, all of the set's."""
    rows, notes = [], []
    protocol = str(score.protocol.get("protocol"))
    standard = describe_rounding(describe_standard_lr(score.scale), str(score.protocol.get("channel")))
    for model in models:
        found = find_row(model, score.scale, score.set, protocol)
        others = list_other_protocols(model, score.scale, score.set, protocol)
        if found and score.protocol.get("lr") == standard and count == SET_SIZES.get(score.set):
            cells = {"psnr": TableCell(found.psnr), "ssim": TableCell(found.ssim)}
            rows.append(
                TableRow(name=model, kind="published", cells=cells, parameters=1000 * found.params_k or None,
                         source=found.source)
            )  # fmt: skip
        elif found:
            notes.append(f"the published values of {model} are of other images or of other LR: not comparable")
        elif others:
            notes.append(f"the published values of {model} are under metric={' and '.join(others)}: not comparable")
        else:
            notes.append(f"there are no published values of {model} here")
    return rows, notes


def _find_digest(content: Comparable, images: Sequence[str]) -> str | None:
    """Return the digest of the content of the images, of a result that has no others."""
    scores = [result.score for result in content.results if len(result.score.per_image) == len(images)]
    return next((score.digest for score in scores if score.digest), None)


def _sort_rows(rows: list[TableRow], measures: Sequence[Measure]) -> None:
    """Sort groups by the first metric, the best first."""
    if measures:
        name, sign = measures[0].name, 1 if measures[0].better == "lower" else -1
        rows.sort(key=lambda row: sign * row.cells[name].mean if name in row.cells else math.inf)


def _add_differences(table: Table) -> None:
    """Add to each cell its difference to the reference; of a table without that, to bicubic."""
    names = [row.name for row in table.rows]
    if table.reference not in names:
        if table.reference != BICUBIC:
            table.notes.append(f"{table.reference} has no result here: differences are to bicubic")
        table.reference = BICUBIC
    reference = next((row for row in table.rows if row.name == table.reference), None)
    for row in table.rows if reference else ():
        for name, cell in row.cells.items():
            if row is not reference and name in reference.cells:
                row.cells[name] = cell._replace(difference=cell.mean - reference.cells[name].mean)


def _describe_runs(rows: Sequence[TableRow]) -> list[str]:
    """Return notes about groups of which some runs have no result here."""
    return [
        f"{row.name}: {len(row.group.runs) - row.count} of {len(row.group.runs)} runs have no result here"
        for row in rows
        if row.count < len(row.group.runs)
    ]


def _describe_metrics(rows: Sequence[TableRow], measures: Sequence[Measure]) -> list[str]:
    """Return notes about groups of which some runs lack a metric."""
    notes = []
    for row in rows:
        counts: dict[int, list[str]] = {}
        for measure in measures:
            if measure.name in row.cells:
                counts.setdefault(row.cells[measure.name].runs, []).append(measure.title)
        notes += [
            f"{row.name}: {', '.join(titles)} of {count} of {row.count} runs; the others were evaluated without"
            for count, titles in counts.items()
            if count < row.count
        ]
    return notes


def _describe_untrained(rows: Sequence[TableRow], means: dict[int, tuple[Metrics, Metrics]]) -> list[str]:
    """Return notes about trained nets that add nothing to bicubic interpolation: their activations may have died."""
    notes = []
    for row in rows:
        for run, score in zip(row.runs, row.scores, strict=True):
            psnr, bicubic = (values.get("psnr", math.nan) for values in means[id(score)])
            if is_trained(run) and run.net != BICUBIC and abs(psnr - bicubic) <= UNTRAINED_TOLERANCE:
                notes.append(
                    f"{row.name}, seed {run.seed}: its PSNR equals that of bicubic; look at its curve, whether it has "
                    f"learned at all"
                )
    return notes


def _describe_bicubic(bicubic: Sequence[Metrics]) -> list[str]:
    """Return a note if the LR images differ between runs."""
    values = [means["psnr"] for means in bicubic if math.isfinite(means.get("psnr", math.nan))]
    if not values or max(values) - min(values) <= BICUBIC_TOLERANCE:
        return []
    return [
        f"bicubic has {min(values):.2f} to {max(values):.2f} dB in these runs: their LR images were degraded with different "
        f"random numbers"
    ]


def _format_titles(tables: Sequence[Table]) -> None:
    """Set the titles; keys in which tables of one set and scale differ are named."""
    for table in tables:
        same = [other for other in tables if (other.set, other.scale) == (table.set, table.scale)]
        keys = [key for key in find_differing_keys(same) if key != "protocol"]
        scale = f" ×{table.scale}" if table.scale else ""  # 0: not known, of result images without HR
        parts = [f"{table.set}{scale}, protocol {table.protocol.get('protocol', 'unknown')}"]
        parts += [f"{key} {_cut(table.protocol.get(key, '–'))}" for key in keys]
        is_unique = sum(other.protocol == table.protocol for other in same) == 1
        parts += [] if is_unique else [f"content {table.digest or 'unknown'}"]
        table.title = ", ".join(parts)


def _cut(value: object) -> str:
    return str(value) if len(str(value)) <= MAX_SHOWN else f"{str(value)[: MAX_SHOWN - 1]}…"


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values)


def _deviation(values: Sequence[float]) -> float | None:
    """Return the sample standard deviation; None of one value, or if a value is not finite."""
    return statistics.stdev(values) if len(values) > 1 and all(map(math.isfinite, values)) else None
