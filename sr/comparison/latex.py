"""The tables in LaTeX, as papers print them: booktabs, the best value in bold, the second best underlined."""

import re
from collections.abc import Sequence

from sr.comparison.layout import BEST, SECOND, TextCell, lay_out_sets, lay_out_table
from sr.comparison.run import RunComparison, Table
from sr.comparison.text import describe_size, format_pair

HEAD = "% Needs \\usepackage{booktabs}; written by python -m sr.compare."
SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "±": r"$\pm$", "×": r"$\times$", "Δ": r"$\Delta$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "∞": r"$\infty$",
    "–": "--", "−": "$-$", "…": r"\dots{}", "α": r"$\alpha$", "σ": r"$\sigma$", "²": r"$^2$", '"': "''",
}  # fmt: skip
JOINT_METRICS = 2  # of each set, in the table of all sets
_SIGN = re.compile(r"^-(?=[\d$])")  # of a negative number; as text it would be a hyphen
MARKS = {BEST: r"\textbf{%s}", SECOND: r"\underline{%s}"}


def format_latex(comparison: RunComparison) -> str:
    """Return a `table` for each table, with its verdicts as comments before it; before these, all sets side by side."""
    same: dict[tuple, dict[str, Table]] = {}  # the first table of each set, by scale and protocol
    for table in comparison.tables:
        same.setdefault((table.scale, table.protocol.get("protocol")), {}).setdefault(table.set, table)
    joint = [_format_joint_table(list(tables.values())) for tables in same.values() if len(tables) > 1]
    return "\n\n".join([HEAD, *joint, *map(_format_table, comparison.tables)]) + "\n"


def escape_latex(text: str) -> str:
    """Return a text in which LaTeX reads no character as its own."""
    return "".join(SPECIAL.get(character, character) for character in text)


def _format_joint_table(tables: Sequence[Table]) -> str:
    """Return one table of all sets, with PSNR and SSIM or the first two metrics of each."""
    header, *rows = lay_out_sets(tables, JOINT_METRICS)
    counts = [len(table.measures[:JOINT_METRICS]) for table in tables]
    starts = [2 + sum(counts[:k]) for k in range(len(tables))]
    spans = [(table.set, start, count) for table, start, count in zip(tables, starts, counts, strict=True) if count]
    heads = [rf"& \multicolumn{{{count}}}{{c}}{{{escape_latex(name)}}}" for name, _, count in spans]
    rules = [rf"\cmidrule(lr){{{start}-{start + count - 1}}}" for _, start, count in spans]
    first = tables[0]
    title = f"×{first.scale}, protocol {first.protocol.get('protocol', 'unknown')}"
    top = [" ".join(heads) + r" \\", "".join(rules)]
    return "\n".join(_format_environment(title, title, header, rows, top))


def _format_table(table: Table) -> str:
    header, *rows = lay_out_table(table)
    verdicts = [f"% {line.strip()}" for pair in table.pairs for line in format_pair(pair)]
    return "\n".join(
        [*verdicts, *_format_environment(f"{table.title} {describe_size(table)}", table.title, header, rows)]
    )


def _format_environment(
    caption: str, name: str, header: Sequence[TextCell], rows: Sequence[Sequence[TextCell]], top: Sequence[str] = ()
) -> list[str]:
    """Return the lines of a `table`; `name` is that of its label, `top` are lines above its header."""
    label = re.sub(r"[^a-z0-9]+", "-", name.lower().replace("×", "x")).strip("-")
    return [
        r"\begin{table}[t]",
        r"\centering",
        rf"\caption{{{escape_latex(caption)}}}",
        rf"\label{{tab:{label}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}",
        r"\toprule",
        *top,
        _format_row(header),
        r"\midrule",
        *map(_format_row, rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]


def _format_row(cells: Sequence[TextCell]) -> str:
    texts = [_SIGN.sub("$-$", escape_latex(cell.text)) for cell in cells]
    marked = [MARKS[cell.rank] % text if cell.rank else text for cell, text in zip(cells, texts, strict=True)]
    return rf"{' & '.join(marked)} \\"
