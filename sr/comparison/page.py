"""Write compare.html: tables with verdicts, images, curves and costs of a comparison, in one self-contained file."""

import base64
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from sr.comparison.charts import MAX_CURVES, draw_costs, draw_group_curves, draw_perception
from sr.comparison.images import DEFAULT_IMAGES, IMAGE_FOLDER, add_images
from sr.comparison.layout import TextCell, lay_out_options, lay_out_table
from sr.comparison.profile import draw_profiles
from sr.comparison.ranking import LEAST_GROUPS, draw_critical_differences
from sr.comparison.run import GroupPair, RunComparison, Table
from sr.comparison.shared_images import align_groups
from sr.comparison.text import describe_size
from sr.comparison.verdict import Verdict
from sr.page.document import Page, PageCell, Section
from sr.record.run_file import create_folder, write_atomic

PAGE_FILE = "compare.html"
STYLE = Path(__file__).parent / "assets" / "compare.css"
UNITS = {"": 1.0, "K": 1e3, "M": 1e6}
_NUMBER = re.compile(r"([-+−]?[\d,]+\.?\d*)(?: ([KM]))?(?: ± .*)?")
_HEADING = Markup("<h3>{}</h3>")
_DIAGRAM = Markup('<img class="diagram" src="data:image/svg+xml;base64,{}" alt="Mean ranks on {}; a bar connects groups '
                  'that are not distinguished">')  # fmt: skip


def write_page(
    comparison: RunComparison,
    folder: Path,
    *,
    images: int | None = DEFAULT_IMAGES,
    trust: Sequence[str] = (),
    data: Path | None = None,
    footer: Mapping[str, Any] | None = None,
) -> Path:
    """Write the page into a folder, and return its path.

    `images` is the number of test images whose pixels the page holds, those that the groups disagree about most; None: all
    of them, each in a page of its own in the folder compare_images. `trust` are modules of the user's own nets,
    and `data` is where the image sets are if they are not where the runs had them.
    """
    page = Page(_format_title(comparison), footer=footer or {}, styles=[STYLE.read_text(encoding="utf-8")])
    _add_results(page.add_section("Results"), comparison)
    if images != 0:
        add_images(page, comparison, folder, images, trust, data)
    _add_charts(page, comparison)
    if comparison.skipped:
        section = page.add_section("Left out")
        section.add_table("Runs that are not compared", ["run", "reason"], [list(run) for run in comparison.skipped])
    path = folder / PAGE_FILE
    write_atomic(path, page.render())
    return path


def copy_page(source: Path, target: Path) -> None:
    """Copy the page of a comparison to another folder, with the pages of its images."""
    write_atomic(target / PAGE_FILE, (source / PAGE_FILE).read_bytes())
    if (source / IMAGE_FOLDER).is_dir():
        create_folder(target / IMAGE_FOLDER, target)
        for file in (source / IMAGE_FOLDER).iterdir():
            write_atomic(target / IMAGE_FOLDER / file.name, file.read_bytes())


def _format_title(comparison: RunComparison) -> str:
    sets = ", ".join(dict.fromkeys(table.set for table in comparison.tables))
    names = [group.name for group in comparison.groups]
    methods = " and ".join(names) if len(names) < 3 else f"{len(names)} methods"
    return f"{methods} on {sets}" if sets else methods


def _add_results(section: Section, comparison: RunComparison) -> None:
    """Add the tables with their verdicts, and the options that differ between groups."""
    for note in comparison.notes:
        section.add_text(note)
    for table in comparison.tables:
        section.add_html(_HEADING.format(table.title))
        section.add_text(f"Mean ± standard deviation over the runs {describe_size(table)}.")
        _add_cells(section, table.title, lay_out_table(table))
        if table.pairs:
            _add_verdicts(section, table)
            _add_ranking(section, table)
        for note in table.notes:
            section.add_text(f"Note: {note}")
    options = lay_out_options(comparison)
    if options:
        section.add_html(_HEADING.format("Options that differ"))
        _add_cells(section, "Options that differ between the methods", options)


def _add_cells(section: Section, title: str, rows: Sequence[Sequence[TextCell]]) -> None:
    """Add a table of texts, which sorts numbers as numbers."""
    header, *body = rows
    section.add_table(title, [cell.text for cell in header], [[make_cell(cell.text) for cell in row] for row in body])


def make_cell(text: str) -> PageCell:
    """Return a cell that sorts `28.31 ± 0.02` and `1.37 M` by their numbers, and a dash last."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        return PageCell(text, None if text == "–" else text)
    return PageCell(text, float(match[1].replace("−", "-").replace(",", "")) * UNITS[match[2] or ""])


def _add_verdicts(section: Section, table: Table) -> None:
    """Add the pairs of groups with the difference, its interval, p, and the verdict in words."""
    measure = table.measures[0]
    header = ["pair", "verdict on the first", f"Δ {measure.unit}".strip(), "95 % interval", "p", "images won"]
    rows = [_lay_out_pair(pair, measure.digits + 1) for pair in table.pairs]
    section.add_table(f"Verdicts on {table.title}", header, rows)


def _lay_out_pair(pair: GroupPair, digits: int) -> list[Any]:
    result = pair.result
    p = result.p if result.p_corrected is None else result.p_corrected
    interval = PageCell("–")
    if result.interval:
        low, high = (f"{end:.{digits}f}".replace("-", "−") for end in result.interval)
        interval = PageCell(f"{low} … {high}", result.interval[0])
    return [
        f"{pair.first} against {pair.second}",
        ". ".join(filter(None, [pair.sentence, pair.power[:1].upper() + pair.power[1:]])),
        _make_number(result.difference, digits, "+"),
        interval,
        PageCell("–")
        if result.verdict == Verdict.TOO_FEW_IMAGES
        else PageCell(f"{p:.3f}" if p >= 0.001 else "< 0.001", p),
        PageCell(f"{result.wins} of {result.images}", float(result.wins)),
    ]


def _make_number(value: float, digits: int, sign: str = "") -> PageCell:
    return PageCell(f"{value:{sign}.{digits}f}".replace("-", "−"), value) if math.isfinite(value) else PageCell("–")


def _add_ranking(section: Section, table: Table) -> None:
    """Add the diagram of critical differences of four groups or more whose pairs were all compared."""
    rows = [row for row in table.rows if row.kind == "group"]
    results = {(pair.first, pair.second): pair.result for pair in table.pairs}
    if len(rows) < LEAST_GROUPS or len(results) < len(rows) * (len(rows) - 1) // 2:
        return
    measure = table.measures[0]
    values = {row.name: [{name: metrics[measure.name] for name, metrics in score.per_image.items()}
                         for score in row.scores] for row in rows}  # fmt: skip
    groups, _, _ = align_groups(values)
    if np.isfinite(np.concatenate(list(groups.values()))).all(axis=0).sum() > 1:  # PSNR of equal images is infinite
        svg = base64.b64encode(draw_critical_differences(groups, results, measure.better == "higher")).decode()
        section.add_html(_DIAGRAM.format(svg, table.title))


def _add_charts(page: Page, comparison: RunComparison) -> None:
    tables, groups = comparison.tables, comparison.groups
    shown = f", of the first {MAX_CURVES} of {len(groups)} methods" if len(groups) > MAX_CURVES else ""
    charts = {
        "Curves": (
            draw_group_curves(groups),
            f"Validation{shown}; a band is from the lowest to the highest seed; a double click shows all values",
        ),
        "Cost": (draw_costs(tables, groups), "Quality against cost; bars are the standard deviation over the seeds"),
        "Perception": (draw_perception(tables, groups), "Distortion against perception"),
        "Inputs": (
            draw_profiles(tables, groups),
            "Inputs other than bicubic LR: below 0, bicubic interpolation is better",
        ),
    }
    for title, (figure, caption) in charts.items():
        if figure is not None:
            page.add_section(title).add_chart(figure, caption)
