"""What an inspection found, as text for people and as JSON for programs."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from sr.runtime.error import UserError
from sr.runtime.terminal import format_table

SHOWN = 8  # lines of one finding that are printed; the file holds all


class Finding(NamedTuple):
    """One kind of fault in one set of pictures."""

    kind: str  # one word, for programs
    where: str  # the set: training, Set5 …
    what: str  # a headline that follows the count
    todo: str
    items: list[dict[str, Any]]  # each with `file` and `says`, and figures of its kind
    spoils: bool = True  # False: worth knowing, no reason to stop


class Report:
    """Findings in the order in which they were made, what was looked at, and what was not."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.checked: list[str] = []
        self.unchecked: list[str] = []
        self.sets: list[dict[str, Any]] = []

    @property
    def has_errors(self) -> bool:
        """Whether anything was found that would spoil a result."""
        return any(finding.spoils for finding in self.findings)

    def add(self, finding: Finding | None) -> None:
        """Keep a finding, unless it is empty."""
        if finding is not None and finding.items:
            self.findings.append(finding)

    def write(self, path: Path) -> None:
        """All of it as JSON."""
        findings = [{**f._asdict(), "count": len(f.items)} for f in self.findings]
        whole = {
            "spoiled": self.has_errors,
            "sets": self.sets,
            "findings": findings,
            "checked": self.checked,
            "unchecked": self.unchecked,
        }
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        except OSError as error:
            raise UserError(f"out={path}: cannot be written ({error.strerror or error})") from None

    def text(self) -> str:
        """The report as it is printed."""
        rows = [(s["set"], s["pictures"], s["readable"], s["smallest"], s["largest"]) for s in self.sets]
        parts = [format_table([("set", "pictures", "readable", "smallest", "largest"), *rows])] if rows else []
        parts += [_paragraph(f) for f in sorted(self.findings, key=lambda f: not f.spoils)]
        parts += ["Checked\n" + "\n".join(f"  {line}" for line in self.checked)] if self.checked else []
        parts += ["Not checked\n" + "\n".join(f"  {line}" for line in self.unchecked)] if self.unchecked else []
        return "\n\n".join([*parts, self._verdict()])

    def _verdict(self) -> str:
        spoiling = [f for f in self.findings if f.spoils]
        notes = len(self.findings) - len(spoiling)
        aside = f" ({notes} note{'s' * (notes > 1)})" if notes else ""
        if not spoiling:
            return f"Nothing was found that would spoil a result{aside}."
        kinds = ", ".join(dict.fromkeys(f.kind for f in spoiling))
        return f"{sum(len(f.items) for f in spoiling)} fault(s) that would spoil a result: {kinds}{aside}."


def _paragraph(finding: Finding) -> str:
    mark = "✗" if finding.spoils else "·"
    items = finding.items[:SHOWN]
    width = min(40, max(len(item["file"]) for item in items))
    lines = [f"{mark} {finding.where}: {len(finding.items)} {finding.what}"]
    lines += [f"    {item['file'].ljust(width)}  {item['says']}".rstrip() for item in items]
    if len(finding.items) > SHOWN:
        lines.append(f"    … and {len(finding.items) - SHOWN} more, in the file")
    return "\n".join([*lines, f"  → {finding.todo}"])
