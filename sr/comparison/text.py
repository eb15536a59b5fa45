"""The comparison as text: for the terminal, and as Markdown."""

import re
import textwrap
from collections.abc import Iterator, Sequence

from sr.comparison.layout import BEST, SECOND, TextCell, lay_out_options, lay_out_table
from sr.comparison.run import GroupPair, RunComparison, Table
from sr.comparison.verdict import Verdict
from sr.runtime.terminal import TABLE_WIDTH, format_count, format_table

WIDTH = 100  # characters of a line of text; tables have TABLE_WIDTH
MAX_ROWS = 40  # of a table on the terminal
MAX_PAIRS = 12  # of a table on the terminal; of more, those with the best group are shown
MARKS = {BEST: "**{}**", SECOND: "<u>{}</u>"}


def format_terminal(comparison: RunComparison) -> str:
    """Return all tables with their verdicts and notes, and what was left out."""
    blocks = []
    options = lay_out_options(comparison)
    if options:
        blocks.append("Groups, and the options in which they differ:\n\n" + _format_rows(options))
    for table in comparison.tables:
        lines = [f"{table.title} {describe_size(table)}", "", _format_rows(lay_out_table(table))]
        remarks = [line for remark in list_remarks(table, MAX_PAIRS) for line in _wrap(remark)]
        blocks.append("\n".join([*lines, *remarks]))
    lists = (("Notes:", comparison.notes), ("Left out:", format_skipped(comparison)))
    blocks += [
        "\n".join([title, *(part for line in lines for part in _wrap(f"  {line}"))]) for title, lines in lists if lines
    ]
    return "\n\n".join(blocks)


def format_markdown(comparison: RunComparison) -> str:
    """Return the same as Markdown, with the best value in bold and the second best underlined."""
    blocks = ["# Comparison"]
    options = lay_out_options(comparison)
    if options:
        blocks.append("Groups, and the options in which they differ:\n\n" + _format_markdown_table(options))
    for table in comparison.tables:
        blocks.append(
            f"## {_escape(table.title)}\n\n{describe_size(table)}\n\n{_format_markdown_table(lay_out_table(table))}"
        )
        remarks = [f"* {_escape(line.strip())}" for line in list_remarks(table) if line]
        blocks += ["\n".join(remarks)] if remarks else []
    lists = (("Notes", comparison.notes), ("Left out", format_skipped(comparison)))
    blocks += [
        "\n".join([f"## {title}", "", *(f"* {_escape(line)}" for line in lines)]) for title, lines in lists if lines
    ]
    return "\n\n".join(blocks) + "\n"


def describe_size(table: Table) -> str:
    """Return in parentheses over how many images the values are means, and what differences are to."""
    images = format_count(len(table.images), "image") if table.images else "means only"
    return f"({images}; Δ to {table.reference})"


def list_remarks(table: Table, most: int | None = None) -> Iterator[str]:
    """Yield the lines under a table: the verdict of each pair, and the notes.

    Of more than `most` pairs only those with the best group. If a table has too few images, all its pairs share one line.
    """
    is_cut = most is not None and len(table.pairs) > most
    shown = [pair for pair in table.pairs if pair.first == table.pairs[0].first] if is_cut else table.pairs
    lines = [line for pair in shown for line in format_pair(pair)]
    notes = [*table.notes]
    if has_too_few_images(table):
        lines = [f"all {len(table.pairs)} pairs: {table.pairs[0].sentence}"]
        notes += ["compare.json has what power= asks for, for each pair"] * bool(table.pairs[0].power)
    elif is_cut:
        notes.append(f"{len(table.pairs) - len(shown)} more pairs are in compare.md")
    if lines:
        yield ""
        yield from (f"  {line}" for line in lines)
    if notes:
        yield ""
        yield from (f"  note: {note}" for note in notes)


def has_too_few_images(table: Table) -> bool:
    """Return whether every one of several pairs has the same verdict, that there are too few images."""
    is_same = len({pair.sentence for pair in table.pairs}) == 1
    return len(table.pairs) > 1 and is_same and table.pairs[0].result.verdict == Verdict.TOO_FEW_IMAGES


def format_pair(pair: GroupPair) -> list[str]:
    """Return `espcn l1 against fsrcnn l1: better by …`, and what more would take if the user asks for that."""
    return [f"{pair.first} against {pair.second}: {pair.sentence}", *([f"  {pair.power}"] if pair.power else [])]


def format_skipped(comparison: RunComparison) -> list[str]:
    """Return a line for each run that was left out."""
    return [f"{run.name}: {run.reason}" for run in comparison.skipped]


def _wrap(line: str) -> list[str]:
    """Return a line in the width of the terminal; what follows the first line is indented by four more."""
    indent = " " * (len(line) - len(line.lstrip()))
    return textwrap.wrap(line.strip(), WIDTH, initial_indent=indent, subsequent_indent=f"{indent}    ") or [""]


def _format_rows(cells: Sequence[Sequence[TextCell]]) -> str:
    """Return a table of at most `MAX_ROWS` rows for the terminal."""
    text = format_table([tuple(cell.text for cell in row) for row in cells[: MAX_ROWS + 1]], TABLE_WIDTH)
    more = len(cells) - 1 - MAX_ROWS
    return text + (f"\n\n… and {more} more in compare.md" if more > 0 else "")


def _format_markdown_table(cells: Sequence[Sequence[TextCell]]) -> str:
    header, *rows = [[MARKS.get(cell.rank, "{}").format(_escape(cell.text)) for cell in row] for row in cells]
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _escape(text: str) -> str:
    """Return a text in which Markdown reads no character as its own."""
    return re.sub(r"([\\|*_`<>\[\]#])", r"\\\1", text)
