"""A run's code in a folder of its own: a git worktree of its commit, with its patch, gone when it is not needed."""

import contextlib
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sr.record import git
from sr.runtime.error import UserError


def repository(named: str | None) -> Path:
    """The clone that `repository=` names, or the one that `sr` runs from."""
    folder = Path(named).expanduser() if named else git.find_checkout()
    if folder is None:
        raise UserError("sr does not run from a git checkout here: say where one is, repository=CLONE")
    if git.run_git(folder, "rev-parse", "--git-dir") is None:
        raise UserError(f"repository={folder}: expected a git clone of sr")
    return folder.resolve()


def check_commit(clone: Path, sha: str) -> None:
    """Raise unless the clone has it."""
    if git.run_git(clone, "cat-file", "-e", f"{sha}^{{commit}}") is None:
        raise UserError(
            f"commit {sha[:12]} of this run is not in {clone}: git fetch there, or name a clone that has it: repository=CLONE"
        )


@contextlib.contextmanager
def worktree(clone: Path, sha: str, patch: bytes) -> Iterator[Path]:
    """The folder; it is removed however the block ends, a polite kill included, and the clone then knows nothing of it."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="sr-reproduce-") as own:
        folder = Path(own).resolve() / "tree"
        try:
            _git(clone, "worktree", "add", "--detach", "--force", str(folder), sha)
            if patch:
                _git(folder, "apply", "--whitespace=nowarn", "-", fed=patch)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            git.run_git(clone, "worktree", "prune")
            signal.signal(signal.SIGTERM, before)


def touched(patch: bytes) -> list[str]:
    """The files that a patch changes."""
    names = re.findall(rb'^diff --git (?:a/.+ b/(.+)|"a/.+" "b/(.+)")$', patch, re.MULTILINE)
    return [(plain or quoted).decode(errors="replace") for plain, quoted in names]


def _git(folder: Path, *words: str, fed: bytes | None = None) -> None:
    command = ["git", "-c", "core.hooksPath=/dev/null", "-C", str(folder), *words]  # a hook may do anything
    done = subprocess.run(command, input=fed, capture_output=True, env=git.clean_environment(), check=False)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise UserError(f"git {words[0]} failed in {folder}: {reason[-1]}")
