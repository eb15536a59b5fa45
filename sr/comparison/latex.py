"""The tables in LaTeX, as papers print them: booktabs, the best value in bold, the second best underlined."""

import re
from collections.abc import Sequence

from sr.comparison.layout import BEST, SECOND, TextCell, lay_out_table
from sr.comparison.run import RunComparison, Table
from sr.comparison.text import describe_size, format_pair

HEAD = "% Needs \\usepackage{booktabs}; written by python -m sr.compare."
SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "±": r"$\pm$", "×": r"$\times$", "Δ": r"$\Delta$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "∞": r"$\infty$",
    "–": "--", "−": "$-$", "…": r"\dots{}", "α": r"$\alpha$", "σ": r"$\sigma$", "²": r"$^2$", '"': "''",
}  # fmt: skip
MARKS = {BEST: r"\textbf{%s}", SECOND: r"\underline{%s}"}


def format_latex(comparison: RunComparison) -> str:
    """Return a `table` for each table, with its verdicts as comments before it."""
    return "\n\n".join([HEAD, *map(_format_table, comparison.tables)]) + "\n"


def escape_latex(text: str) -> str:
    """Return a text in which LaTeX reads no character as its own."""
    return "".join(SPECIAL.get(character, character) for character in text)


def _format_table(table: Table) -> str:
    header, *rows = lay_out_table(table)
    label = re.sub(r"[^a-z0-9]+", "-", table.title.lower().replace("×", "x")).strip("-")
    lines = [
        r"\begin{table}[t]",
        r"\centering",
        rf"\caption{{{escape_latex(f'{table.title} {describe_size(table)}')}}}",
        rf"\label{{tab:{label}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}",
        r"\toprule",
        _format_row(header),
        r"\midrule",
        *map(_format_row, rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    verdicts = [f"% {line.strip()}" for pair in table.pairs for line in format_pair(pair)]
    return "\n".join([*verdicts, *lines, r"\end{table}"])


def _format_row(cells: Sequence[TextCell]) -> str:
    texts = [MARKS[cell.rank] % escape_latex(cell.text) if cell.rank else escape_latex(cell.text) for cell in cells]
    return rf"{' & '.join(texts)} \\"
