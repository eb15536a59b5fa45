"""The findings of an inspection, as text for people and as JSON for programs."""

from pathlib import Path
from typing import Any, NamedTuple

from sr.record.json_text import to_json
from sr.runtime.error import UserError
from sr.runtime.terminal import format_table

TRAINING = "training set"  # the name of the set that is trained on; each other one is an evaluation set
MAX_PRINTED_ITEMS = 8  # of one finding; the JSON file holds all


class Finding(NamedTuple):
    """One kind of defect in one set of images."""

    kind: str  # one word, for programs
    where: str  # the set: training set, Set5 …
    what: str  # a headline that follows the count
    todo: str
    items: list[dict[str, Any]]  # each with `file` and `says`, and figures of its kind
    is_error: bool = True  # it invalidates results; False: a note


class Report:
    """The findings in the order in which they were made, what was checked, and what was not."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.checked: list[str] = []
        self.unchecked: list[str] = []
        self.sets: list[dict[str, Any]] = []

    @property
    def has_errors(self) -> bool:
        """True if a finding invalidates results."""
        return any(finding.is_error for finding in self.findings)

    def add(self, finding: Finding) -> None:
        """Add a finding, unless it has no items."""
        if finding.items:
            self.findings.append(finding)

    def write(self, path: Path) -> None:
        """Write the report as JSON."""
        content = {
            "has_errors": self.has_errors,
            "sets": self.sets,
            "findings": [{**f._asdict(), "count": len(f.items)} for f in self.findings],
            "checked": self.checked,
            "unchecked": self.unchecked,
        }
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(to_json(content, 1) + "\n", encoding="utf-8")
        except OSError as error:
            raise UserError(f"out={path}: cannot be written ({error.strerror or error})") from None

    def text(self) -> str:
        """Format the report for the terminal."""
        rows = [(s["set"], s["images"], s["readable"], s["smallest"], s["largest"]) for s in self.sets]
        parts = [format_table([("set", "images", "readable", "smallest", "largest"), *rows])] if rows else []
        parts += [_format_finding(f) for f in sorted(self.findings, key=lambda f: not f.is_error)]
        parts += ["Checked\n" + "\n".join(f"  {line}" for line in self.checked)] if self.checked else []
        parts += ["Not checked\n" + "\n".join(f"  {line}" for line in self.unchecked)] if self.unchecked else []
        return "\n\n".join([*parts, self._summarize()])

    def _summarize(self) -> str:
        errors = [f for f in self.findings if f.is_error]
        notes = len(self.findings) - len(errors)
        suffix = f" ({notes} note{'s' * (notes > 1)})" if notes else ""
        if not errors:
            return f"Nothing was found that invalidates results{suffix}."
        kinds = ", ".join(dict.fromkeys(f.kind for f in errors))
        return f"{sum(len(f.items) for f in errors)} defect(s) that invalidate results: {kinds}{suffix}."


def _format_finding(finding: Finding) -> str:
    mark = "✗" if finding.is_error else "·"
    items = finding.items[:MAX_PRINTED_ITEMS]
    width = min(40, max(len(item["file"]) for item in items))
    lines = [f"{mark} {finding.where}: {len(finding.items)} {finding.what}"]
    lines += [f"    {item['file'].ljust(width)}  {item['says']}".rstrip() for item in items]
    if len(finding.items) > MAX_PRINTED_ITEMS:
        lines.append(f"    … and {len(finding.items) - MAX_PRINTED_ITEMS} more, in the file")
    return "\n".join([*lines, f"  → {finding.todo}"])
