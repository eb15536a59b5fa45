"""Check which classes a recorded run builds: parts of `sr`, and what the user trusts (`sr.config.allowlist`).

Its config may come from somebody else. Classes in modules that the run's own commit or patch contains, and that differ
from the modules here, cannot be inspected without running them. They are the run's code, which runs as a whole if it is
trusted (`Reproduction._check_trust`).
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sr.config.allowlist import check_targets
from sr.record import git
from sr.reproduction.recorded_run import RecordedRun
from sr.reproduction.worktree import list_changed_files

ROOT = Path(__file__).resolve().parents[2]
MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def check_run_targets(run: RecordedRun, clone: Path, trust: Sequence[str]) -> None:
    """Raise if the run's config or command line names a class that is not allowed."""
    modules = RunModules(run, clone)
    check_targets(_remove_targets(run.config, modules), trust, f"run={run.folder.name}")
    for target in re.findall(r"_target_\W+([\w.]+)", " ".join(run.overrides)):
        node = _remove_targets({"_target_": target}, modules)
        check_targets(node, trust, f"run={run.folder.name}, overrides.yaml:")


class RunModules:
    """The modules of which the run has its own version: `"sr.net.odd" in modules`."""

    def __init__(self, run: RecordedRun, clone: Path) -> None:
        self.run, self.clone, self.changed_files = run, clone, set(list_changed_files(run.patch))

    def __contains__(self, module: str) -> bool:
        if not MODULE.fullmatch(module):
            return False
        file = f"{module.replace('.', '/')}.py"
        if module.startswith("sr."):
            return self._is_changed(file)
        return any(self._is_changed(f"{folder}/{file}") for folder in self.run.config_dirs_in_checkout)

    def _is_changed(self, file: str) -> bool:
        """Return whether the run's code has this file, with other content than here."""
        if file in self.changed_files:
            return True
        content = git.run_git(self.clone, "show", f"{self.run.commit}:{file}")
        return content is not None and not ((ROOT / file).is_file() and (ROOT / file).read_bytes() == content)


def _remove_targets(node: Any, modules: RunModules) -> Any:
    """Return the config without the targets in these modules."""
    if isinstance(node, list):
        return [_remove_targets(part, modules) for part in node]
    if not isinstance(node, dict):
        return node
    is_own = str(node.get("_target_", "")).rpartition(".")[0] in modules
    return {key: _remove_targets(part, modules) for key, part in node.items() if not (is_own and key == "_target_")}
