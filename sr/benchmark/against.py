"""Compare the rows of a benchmark with those of an earlier one."""

from collections.abc import Mapping, Sequence
from typing import Any

Rows = Sequence[Mapping[str, Any]]


def find_worse_rows(rows: Rows, earlier: Rows) -> list[str]:
    """Describe each row whose ratio is worse than the earlier one in every round, so that noise alone does not explain it.

    Ratios are compared, because another load of the machine changes both sides. Rates (`…/s`) are better if higher, all
    other units if lower.
    """
    before = {_identify(row): row for row in earlier}
    worse = []
    for row in rows:
        old = before.get(_identify(row))
        if old is None:
            continue
        (least, most), (old_least, old_most) = row["ratio_range"], old["ratio_range"]
        if most < old_least if row["unit"].endswith(("/s", "/min")) else least > old_most:
            worse.append(f"{row['name']}, {row['unit']}: ratio {row['ratio']:.3f} [{least:.3f}, {most:.3f}], "
                         f"was {old['ratio']:.3f} [{old_least:.3f}, {old_most:.3f}]")  # fmt: skip
    return worse


def count_common_rows(rows: Rows, earlier: Rows) -> int:
    """Return how many rows have an earlier counterpart."""
    return len(set(map(_identify, rows)) & set(map(_identify, earlier)))


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
