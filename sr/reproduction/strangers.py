"""What a run may name. Its files are a stranger's: parts of `sr`, and what the user trusts (`sr.config.allowlist`).

Classes in modules that the run's own commit or patch brings, and that are not as they are here, cannot be looked at
without running them. They are the run's code, which runs anyway.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sr
from sr.config.allowlist import check_targets
from sr.record import git
from sr.reproduction.past import Past
from sr.reproduction.worktree import touched

HERE = Path(sr.__file__).resolve().parents[1]
MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def refuse(run: Past, clone: Path, trust: Sequence[str]) -> None:
    """Raise where the run's config, or what was typed, names anything else."""
    own = Own(run, clone)
    check_targets(_without(run.config, own), trust, f"run={run.folder.name}")
    for target in re.findall(r"_target_\W+([\w.]+)", " ".join(run.typed)):
        check_targets(_without({"_target_": target}, own), trust, f"run={run.folder.name}, overrides.yaml:")


class Own:
    """Tells which modules are the run's own."""

    def __init__(self, run: Past, clone: Path) -> None:
        self.run, self.clone, self.changed = run, clone, set(touched(run.patch))

    def __contains__(self, module: str) -> bool:
        if not MODULE.fullmatch(module):
            return False
        file = f"{module.replace('.', '/')}.py"
        if module.startswith("sr."):
            return self._is_other(file)
        return any(self._is_other(f"{folder}/{file}") for folder in self.run.parts_inside)

    def _is_other(self, file: str) -> bool:
        """Whether the run's tree has this file, and not with the content that it has here."""
        if file in self.changed:
            return True
        there = git.run_git(self.clone, "show", f"{self.run.sha}:{file}")
        return there is not None and not ((HERE / file).is_file() and (HERE / file).read_bytes() == there)


def _without(node: Any, own: Own) -> Any:
    """The config less the targets in the run's own modules."""
    if isinstance(node, list):
        return [_without(part, own) for part in node]
    if not isinstance(node, dict):
        return node
    theirs = str(node.get("_target_", "")).rpartition(".")[0] in own
    return {key: _without(part, own) for key, part in node.items() if not (theirs and key == "_target_")}
