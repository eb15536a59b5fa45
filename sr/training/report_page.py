"""Write report.html at the end of a run: its results, curves, sample images, alarms and where it comes from, on one page."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from markupsafe import Markup

from sr.config.command_line import format_command
from sr.config.diff import flatten
from sr.page.curves import CurveGroup, draw_curves
from sr.page.document import Page, Section
from sr.record.journal_format import CONTROL, JOURNAL_FILE, drop_superseded, read_entries
from sr.record.result import TrainingResult
from sr.record.run_file import write_atomic
from sr.runtime.redact import mask_passwords
from sr.track.curves import join_runs, read_curves

REPORT_FILE = "report.html"
MIN_POINTS = 3  # of a curve; two values are seen in the table
MAX_LOSS_BYTES = 10_000_000  # of a journal whose losses are drawn too: a larger one takes more than a second to read
MAX_PANELS = 8
IMAGE = b'{"image"'  # the beginning of a line about a sample image
PANEL = Markup(
    '<figure class="chart"><img src="data:image/png;base64,{}" alt="{}"><figcaption>{}</figcaption></figure>'
)
STYLE = "#sample-images figure { display: inline-block; margin: 0 0.75rem 0.75rem 0; } #sample-images img { max-width: 100%; }"


def write_report_page(
    folder: Path,
    summary: TrainingResult,
    table: Sequence[Sequence[str]],
    config: Mapping[str, Any],
    overrides: Sequence[str],
) -> Path:
    """Write the page of a run whose journal is complete, and return its path.

    `table` are the rows of its results, the header first. It takes about a second, most of it for compressing Plotly.
    """
    page = Page(folder.name, f"{summary.status}: {summary.steps:,} steps in {summary.seconds:,.0f} s", styles=[STYLE])
    _add_results(page.add_section("Results"), summary, table)
    figure = draw_curves([_read_curves(folder, config)])
    if figure is not None:
        page.add_section("Curves").add_chart(
            figure, "Validation and losses; bicubic is the dashed line; a double click shows all values"
        )
    _add_panels(page, folder)
    page.add_section("Run").add_facts(_list_facts(folder, summary, overrides))
    path = folder / REPORT_FILE
    write_atomic(path, page.render(), sync=False)
    return path


def _add_results(section: Section, summary: TrainingResult, table: Sequence[Sequence[str]]) -> None:
    header, *rows = table
    section.add_table("Results", header, rows)
    for name, messages in summary.alarms.items():
        section.add_text(f"Alarm {name}: {messages[-1]}")
    for leak in summary.leaks:
        section.add_text(f"Leak, an image of an evaluation set that is in the training set: {leak}")


def _read_curves(folder: Path, config: Mapping[str, Any]) -> CurveGroup:
    """Return the curves of a run that have enough points to be one."""
    journal = folder / JOURNAL_FILE
    with_losses = journal.is_file() and journal.stat().st_size < MAX_LOSS_BYTES
    curves = join_runs("this run", [(read_curves(folder, with_losses), flatten(dict(config)))])
    shown = {title: curve for title, curve in curves.curves.items() if len(curve.steps) >= MIN_POINTS}
    return CurveGroup(curves.name, shown, curves.baselines)


def _add_panels(page: Page, folder: Path) -> None:
    """Add the newest sample image of each key, the crop where bicubic is worst."""
    files: dict[str, str] = {}
    for entry in drop_superseded(read_entries(folder / JOURNAL_FILE, only=(IMAGE, *CONTROL))):
        if "image" in entry:
            files[entry["image"]] = entry["files"][0]
    if not files:
        return
    section = page.add_section("Sample images")
    for key, name in list(files.items())[-MAX_PANELS:]:
        file = folder / name
        if file.is_file():
            section.add_html(PANEL.format(base64.b64encode(file.read_bytes()).decode(), key, Path(name).stem))


def _list_facts(folder: Path, summary: TrainingResult, overrides: Sequence[str]) -> dict[str, Any]:
    """Return where the run comes from and what it took."""
    file = folder / "environment.yaml"
    environment = (yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else None) or {}
    facts = {
        "command": format_command("sr.run", {}, map(mask_passwords, overrides)),
        "folder": str(folder),
        "MLflow run": summary.run_id,
        "commit": (environment.get("git") or {}).get("sha"),
        "checkpoint": summary.checkpoint,
        "protocol": summary.protocol.get("protocol"),
        "steps per second": summary.steps_per_second,
        "energy": ", ".join(f"{kind} {wh:.2f} Wh" for kind, wh in summary.energy_wh.items()),
    }
    return {name: value for name, value in facts.items() if value}
