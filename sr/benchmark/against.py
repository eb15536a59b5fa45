"""Compare the rows of a benchmark with those of an earlier one."""

from collections.abc import Mapping, Sequence
from typing import Any

Rows = Sequence[Mapping[str, Any]]


def find_worse_rows(rows: Rows, earlier: Rows) -> list[str]:
    """Describe each row whose ratio is worse in every round than in any round before, which noise alone hardly explains.

    Ratios are compared, because another load of the machine changes both sides. Rates (`…/s`, `…/CPU s`, `…/min`) are
    better if higher, all other units if lower.
    """
    before = {_identify(row): row for row in earlier}
    worse = []
    for row in rows:
        old = before.get(_identify(row))
        if old is None:
            continue
        (least, most), (old_least, old_most) = row["ratio_range"], old["ratio_range"]
        is_rate = row["unit"].endswith(("/s", "/CPU s", "/min"))
        if (is_rate and most < old_least) or (not is_rate and least > old_most):
            worse.append(f"{row['name']}, {row['unit']}: ratio {row['ratio']:.3f} [{least:.3f}, {most:.3f}], "
                         f"was {old['ratio']:.3f} [{old_least:.3f}, {old_most:.3f}]")  # fmt: skip
    return worse


def find_new_rows(rows: Rows, earlier: Rows) -> list[str]:
    """Return the names of the rows without an earlier counterpart."""
    before = set(map(_identify, earlier))
    return [row["name"] for row in rows if _identify(row) not in before]


def format_markdown(rows: Rows) -> str:
    """Return a table for a document."""
    lines = ["| | sr | reference | ratio [min, max] | unit | reference |", "| --- | --- | --- | --- | --- | --- |"]
    for row in rows:
        least, most = row["ratio_range"]
        ratio = f"**{row['ratio']:.2f}** [{least:.2f}, {most:.2f}]"
        cells = (row["name"], f"{row['sr']:.4g}", f"{row['reference']:.4g}", ratio, row["unit"], row["reference_name"])
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _identify(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["name"], row["unit"], row["reference_name"]
