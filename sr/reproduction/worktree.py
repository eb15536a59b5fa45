"""The code of a run: a temporary git worktree of its commit, with its patch applied."""

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


def find_clone(repository: str | None) -> Path:
    """Return the git clone that `repository=` names, or the one that `sr` runs from."""
    folder = Path(repository).expanduser() if repository else git.find_checkout()
    if folder is None:
        raise UserError("sr does not run from a git checkout: name a clone of sr, repository=CLONE")
    if git.run_git(folder, "rev-parse", "--git-dir") is None:
        raise UserError(f"repository={folder}: expected a git clone of sr")
    return folder.resolve()


def check_commit(clone: Path, commit: str) -> None:
    """Raise unless the clone has this commit."""
    if git.run_git(clone, "cat-file", "-e", f"{commit}^{{commit}}") is None:
        raise UserError(
            f"commit {commit[:12]} of this run is not in {clone}: git fetch there, or name a clone that has it: "
            f"repository=CLONE"
        )


@contextlib.contextmanager
def create_worktree(clone: Path, commit: str, patch: bytes) -> Iterator[Path]:
    """Yield the folder of the worktree.

    It is removed however the block ends, SIGTERM included, and so is the clone's record of it.
    """
    previous_handler = signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="sr-reproduce-") as temporary:
        folder = Path(temporary).resolve() / "tree"
        try:
            _run_git(clone, "worktree", "add", "--detach", "--force", str(folder), commit)
            if patch:
                _run_git(folder, "apply", "--whitespace=nowarn", "-", stdin=patch)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            git.run_git(clone, "worktree", "prune")
            signal.signal(signal.SIGTERM, previous_handler)


def summarize_patch(clone: Path, patch: bytes) -> list[str]:
    """Return the lines of `git apply --stat`: each file with the number of its changed lines. Nothing is applied."""
    return _run_git(clone, "apply", "--stat", "-", stdin=patch).splitlines() if patch else []


def list_changed_files(patch: bytes) -> list[str]:
    """Return the names of the files that a patch changes."""
    names = re.findall(rb'^diff --git (?:a/.+ b/(.+)|"a/.+" "b/(.+)")$', patch, re.MULTILINE)
    return [(plain or quoted).decode(errors="replace") for plain, quoted in names]


def _run_git(folder: Path, *words: str, stdin: bytes | None = None) -> str:
    """Run git and return what it prints; raise with its message if it fails."""
    command = ["git", "-c", "core.hooksPath=/dev/null", "-C", str(folder), *words]  # a hook could run anything
    done = subprocess.run(command, input=stdin, capture_output=True, env=git.clean_environment(), check=False)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise UserError(f"git {words[0]} failed in {folder}: {reason[-1]}")
    return done.stdout.decode(errors="replace")
