"""One comparison: collect the runs, group them, make the tables and verdicts, write and record them."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sr import __version__
from sr.comparison.collect import RunCollector, has_source, join_results
from sr.comparison.data import format_csv, format_json, format_pairs_csv
from sr.comparison.group import group_runs
from sr.comparison.latex import format_latex
from sr.comparison.measure import check_columns
from sr.comparison.page import PAGE_FILE, copy_page, write_page
from sr.comparison.pairs import add_pairs
from sr.comparison.profile import add_profile_notes
from sr.comparison.recording import ComparisonRun
from sr.comparison.run import Group, RunComparison, Skipped
from sr.comparison.source import Source
from sr.comparison.table import BICUBIC, describe_splits, make_tables
from sr.comparison.text import format_markdown, format_terminal
from sr.config.command_line import format_command
from sr.evaluation.published import find_model
from sr.record.run_file import write_atomic
from sr.runtime.error import DiskError, UserError, suggest_nearest
from sr.runtime.redact import mask_passwords
from sr.track.address import check_uri, default_uri, resolve_address

FORMATS = {
    "compare.csv": format_csv, "compare_pairs.csv": format_pairs_csv, "compare.md": format_markdown,
    "compare.tex": format_latex, "compare.json": format_json,
}  # fmt: skip
MAX_TITLE_GROUPS = 2  # groups that the title of the run names


def run_comparison(config: dict[str, Any], choices: dict[str, str], overrides: Sequence[str]) -> None:
    """Compare the runs that a config names, print the tables, and write the files of the comparison."""
    kind = choices.get("track", "none")
    typed = config["track"].get("uri")
    if typed:
        check_uri(typed)
    runs = Path(config["paths"]["runs"]).expanduser().resolve()
    published = [find_model(model) for model in config["published"]]
    output = _prepare_output(config["output"])
    with tempfile.TemporaryDirectory(prefix="sr-compare-") as temporary:
        collector = RunCollector(runs, typed or resolve_address(None, runs), Path(temporary))
        comparison = make_comparison(collector, config, published)
        print(format_terminal(comparison) + "\n", flush=True)  # what follows may take long
        uri = (typed or default_uri(runs)) if kind == "mlflow" else None
        run = ComparisonRun(config, uri, kind != "none", _format_title(comparison.groups))
        try:
            with run.open(choices, overrides, _list_tags(comparison), _format_description(comparison)) as folder:
                for target in (folder, output) if output else (folder,):
                    write_files(comparison, target)
                footer = {
                    "command": format_command("sr.compare", {}, map(mask_passwords, overrides)),
                    "sr": __version__,
                }
                write_page(
                    comparison, folder, images=_count_images(config["images"]), trust=config["trust"],
                    data=Path(config["paths"]["data"]).expanduser(), footer=footer,
                )  # fmt: skip
                if output:
                    copy_page(folder, output)
        finally:
            if output:
                print(f"output      {output}")
            run.print_location()
            if (run.folder / PAGE_FILE).exists():
                print(f"page        {run.folder / PAGE_FILE}")


def make_comparison(collector: RunCollector, config: dict[str, Any], published: Sequence[str]) -> RunComparison:
    """Return the comparison of the runs that a config names; raise if nothing can be compared."""
    found = collector.collect(config["runs"], config["filter"])
    reference = config["reference"]
    groups, options, notes = group_runs(found)
    named = next((group for group in groups if group.name == reference), None)
    if reference not in (None, BICUBIC) and named is None:
        source = _find_reference(collector, reference, groups)
        if not any(has_source(run, source) for run in found):  # the user need not name it twice
            found = join_results([*found, *collector.collect([reference])])
            groups, options, notes = group_runs(found)
        named = next((group for group in groups if any(has_source(run, source) for run in group.runs)), None)
        if named is None:
            raise UserError(
                f"reference={reference}: expected a run that can be compared{_list_reasons(collector.skipped)}"
            )
    if not groups:
        raise UserError(f"runs=…: nothing can be compared{_list_reasons(collector.skipped)}")
    check_columns(config["columns"], (name for run in found for score in run.scores for name in score.means))
    tables = make_tables(groups, named.name if named else None, config["columns"], published)
    for table in tables:
        add_pairs(table, config["power"])
        add_profile_notes(table)
    notes += [f"{run.name}: {note}" for run in found for note in run.notes]
    if len(groups) == 1:
        notes.append("there is one group: it is compared with bicubic and published values only")
    return RunComparison(
        groups=groups,
        tables=tables,
        options=options,
        skipped=collector.skipped,
        notes=[*describe_splits(tables), *notes],
    )


def write_files(comparison: RunComparison, folder: Path) -> None:
    """Write the tables in all formats."""
    for name, make_text in FORMATS.items():
        try:
            write_atomic(folder / name, make_text(comparison))
        except OSError as error:
            raise DiskError(f"{folder / name}: cannot be written ({error.strerror or error})") from None


def _count_images(images: int | str) -> int | None:
    """Return the number of images of the page; None for `all`."""
    return None if images == "all" else int(images)


def _find_reference(collector: RunCollector, reference: str, groups: Sequence[Group]) -> Source:
    """Return the run that is the reference; raise if the word is neither a run nor a group."""
    try:
        return collector.find_reference(reference)
    except UserError as error:
        if str(error).startswith("reference="):
            raise
        names = [BICUBIC, *(group.name for group in groups)]
        raise UserError(
            f"reference={reference}: expected a run, or one of the groups {', '.join(names)}"
            f".{suggest_nearest(reference, names)}"
        ) from None


def _list_reasons(skipped: Sequence[Skipped]) -> str:
    """Return a line for each run that was left out."""
    return "".join(f"\n  {run.name}: {run.reason}" for run in skipped)


def _prepare_output(output: str | None) -> Path | None:
    """Create the folder for the files, before anything is computed."""
    if output is None:
        return None
    folder = Path(output).expanduser().resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"output={output}: expected a folder that can be written ({error.strerror or error})") from None
    if not os.access(folder, os.W_OK):
        raise UserError(f"output={output}: expected a folder that can be written (permission denied)")
    return folder


def _format_title(groups: Sequence[Group]) -> str:
    """Return the name of the run: `compare espcn l1, fsrcnn l1 and 2 more`."""
    names = ", ".join(group.name for group in groups[:MAX_TITLE_GROUPS])
    more = len(groups) - MAX_TITLE_GROUPS
    return f"compare {names}" + (f" and {more} more" if more > 0 else "")


def _list_tags(comparison: RunComparison) -> dict[str, str]:
    """Return tags of the run that say what it compares."""
    runs = [run.run_id or run.id for group in comparison.groups for run in group.runs]
    sets = dict.fromkeys(f"{table.set} x{table.scale}" for table in comparison.tables)
    return {"sr.compared": ",".join(runs), "sr.sets": ",".join(sets)}


def _format_description(comparison: RunComparison) -> str:
    """Return the tables as Markdown shows them unchanged: indented."""
    return "\n".join(f"    {line}" for line in format_terminal(comparison).splitlines())
