"""Define a sweep: the options that all trials share, those that vary, and how values are chosen.

It is stored in the sweep's folder, so that the same command continues the sweep, and another one is refused.
"""

import hashlib
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from sr.config.diff import find_differences, flatten
from sr.record.identity import write_atomic
from sr.runtime.error import UserError
from sr.sweep.space import Space

DEFINITION_FILE = "sweep.yaml"
FREE_OPTIONS = (
    "paths.",
    "track.",
    "track=",
    "sweep.",
    "sweep=",
    "sweep/pool=",
    "trust=",
)  # which may change when a sweep is continued
MAX_NAME_LENGTH = 40


@dataclass(frozen=True)
class Definition:
    """All that must stay equal in one sweep."""

    base: list[str]  # overrides of all trials, sorted
    space: dict[str, str]
    sampler: dict[str, Any] | None
    pruner: dict[str, Any]
    objective: list[str]

    def derive_name(self) -> str:
        """Return a name from the options that vary, with a digest: `net-seed-3f2a91`."""
        keys = "-".join(re.split(r"[./]", key)[-1] for key in self.space)
        digest = hashlib.sha256(yaml.safe_dump(asdict(self)).encode()).hexdigest()[:6]
        return f"{keys[:MAX_NAME_LENGTH]}-{digest}"

    def store(self, folder: Path) -> None:
        """Write the definition into the sweep's folder; raise `UserError` if there is another one."""
        file, content = folder / DEFINITION_FILE, asdict(self)
        if not file.exists():
            write_atomic(file, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
            return
        before = yaml.safe_load(file.read_text(encoding="utf-8"))
        changes = find_differences(flatten(before), flatten(content))
        if changes:
            raise UserError(
                f"sweep.name={folder.name}: this sweep was begun with other options ({', '.join(map(str, changes))}); type "
                f"the former ones to continue it, or give another sweep.name"
            )


def make_definition(base: list[str], space: Space, settings: dict[str, Any], objective: list[str]) -> Definition:
    """Return the definition of a sweep with these overrides, search space and options `sweep.*`."""
    return Definition(
        base=sorted(word for word in base if not word.lstrip("+~").startswith(FREE_OPTIONS)),
        space={key: str(dimension) for key, dimension in space.items()},
        sampler=settings["sampler"],
        pruner=settings["pruner"],
        objective=objective,
    )
