"""The source code of a run: its commit, and one patch that turns the commit into what ran, untracked files included.

Nothing in the user's repository changes: the patch is made with an index and an object store of its own, in a temporary
folder. Only `sr-runs` in the folder .git of the clone is written: checksums of the changed code that ran here. No clone, fetch
or copied run folder brings them along, so they prove to `sr.reproduce` that code was made in this clone.
"""

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

MAX_FILE_BYTES = 1_000_000  # of an untracked file in the patch
MAX_PATCH_BYTES = 16_000_000  # of all untracked files in the patch
# Files that may hold a password or a key. The patch is sent to the tracker, so they are never part of it.
SECRET_FILES = re.compile(
    r"\.env(\..+)?|\.netrc|id_(rsa|dsa|ecdsa|ed25519)|.+\.(pem|key|p12|pfx)|credentials.*|secrets?\..*"
)
TIMEOUT = 20  # seconds for one command of git


class Changes(NamedTuple):
    """The difference of a working tree from its commit."""

    patch: bytes = b""  # for `git apply`; empty if there is no difference
    omitted: tuple[str, ...] = ()  # untracked files that are not in the patch: too large, or secret
    is_complete: bool = True  # False: git failed, or took too long


def find_checkout() -> Path | None:
    """Return the git checkout that `sr` runs from, or None if it is an installed package."""
    folder = Path(__file__).resolve().parents[2]
    return folder if (folder / ".git").exists() else None  # a wheel may be installed inside somebody else's repository


def read_state(folder: Path | None) -> dict[str, str]:
    """Return folder, commit, branch and whether the working tree differs (`dirty`); empty if there is no checkout."""
    sha = run_git(folder, "rev-parse", "HEAD") if folder else None
    if not sha:
        return {}
    branch, status = run_git(folder, "rev-parse", "--abbrev-ref", "HEAD"), run_git(folder, "status", "--porcelain")
    return {
        "folder": str(folder),
        "sha": sha.decode().strip(),
        "branch": (branch or b"").decode(errors="replace").strip(),
        "dirty": str(bool(status)).lower(),
    }


def read_changes(folder: Path, excluded: Sequence[Path] = ()) -> Changes:
    """Return the changes of the working tree; untracked files in `excluded` folders (runs, data) are no source code."""
    excluded = [path for path in excluded if path != folder and path.is_relative_to(folder)]
    with tempfile.TemporaryDirectory(prefix="sr-") as temporary:
        env = _copy_index(folder, Path(temporary))
        listing = run_git(folder, "ls-files", "--others", "--exclude-standard", "-z", env=env) if env else None
        if env is None or listing is None:
            return Changes(is_complete=False)
        untracked = [
            name for name in listing.split(b"\0") if name and not _is_below(folder / os.fsdecode(name), excluded)
        ]
        included = _select_untracked(folder, untracked)
        outputs = [run_git(folder, "add", "--update", env=env)]
        if included:
            names = b"\0".join(included)
            outputs.append(run_git(folder, "update-index", "--add", "-z", "--stdin", env=env, stdin=names))
        options = ("--cached", "--binary", "--full-index", "--no-renames", "--no-ext-diff", "--no-textconv")
        patch = run_git(folder, "diff-index", *options, "HEAD", env=env)
    omitted = tuple(os.fsdecode(name) for name in untracked if name not in included)
    return Changes(patch or b"", omitted, patch is not None and None not in outputs)


def digest_code(commit: str, patch: bytes, config_dirs: Sequence[str]) -> str:
    """Return the SHA-256 of the code of a run that its commit does not hold: its patch, and the names of own folders."""
    parts = [commit, hashlib.sha256(patch).hexdigest(), *map(str, config_dirs)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def record_code(checkout: Path, digest: str) -> None:
    """Note that this code ran from this clone; without a place to write nothing is noted."""
    path = _find_record(checkout)
    if path is None or has_run_code(checkout, digest):
        return
    with contextlib.suppress(OSError), path.open("a", encoding="ascii") as file:
        file.write(f"{digest}\n")


def has_run_code(clone: Path, digest: str) -> bool:
    """Return True if this code has run from this clone."""
    path = _find_record(clone)
    try:
        return path is not None and digest in path.read_text(encoding="ascii", errors="replace").split()
    except OSError:
        return False


def _find_record(folder: Path) -> Path | None:
    output = run_git(folder, "rev-parse", "--path-format=absolute", "--git-path", "sr-runs")
    return Path(os.fsdecode(output).rstrip("\n")) if output else None


def run_git(folder: Path, *words: str, env: dict[str, str] | None = None, stdin: bytes | None = None) -> bytes | None:
    """Return what git prints; None if there is no git, or if it fails."""
    command = ["git", "-c", "core.splitIndex=false", "-c", "core.fsmonitor=false", "-C", str(folder), *words]
    variables = clean_environment() | (env or {})
    try:
        process = subprocess.run(command, input=stdin, capture_output=True, env=variables, timeout=TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return process.stdout if process.returncode == 0 else None


def clean_environment() -> dict[str, str]:
    """Return environment variables for git: no optional locks, and no repository but the one that it is given."""
    others = {key: value for key, value in os.environ.items() if not key.startswith("GIT_") or "CONFIG" in key}
    return others | {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}


def _copy_index(folder: Path, temporary: Path) -> dict[str, str] | None:
    """Return git's variables for a copy of the index, whose objects go to `temporary` as well; None if git fails."""
    output = run_git(folder, "rev-parse", "--path-format=absolute", "--git-path", "index", "--git-path", "objects")
    if not output:
        return None
    index, objects = os.fsdecode(output).splitlines()
    if Path(index).exists():
        shutil.copy2(index, temporary / "index")  # with its time, from which git knows what may have changed since
    (temporary / "objects").mkdir()
    return {
        "GIT_INDEX_FILE": str(temporary / "index"),
        "GIT_OBJECT_DIRECTORY": str(temporary / "objects"),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": objects,
    }


def _select_untracked(folder: Path, names: list[bytes]) -> list[bytes]:
    """Return the untracked files for the patch, the smallest first; neither secrets nor a repository inside this one."""
    sizes = {}
    for name in names:
        path = folder / os.fsdecode(name)
        is_repository = name.endswith(b"/")
        is_readable = path.is_symlink() or os.access(path, os.R_OK)
        if SECRET_FILES.fullmatch(path.name) or is_repository or not is_readable:
            continue
        with contextlib.suppress(OSError):  # removed in the meantime
            sizes[name] = path.lstat().st_size
    selected, room = [], MAX_PATCH_BYTES
    for name, size in sorted(sizes.items(), key=lambda item: item[1]):
        room -= size
        if size <= MAX_FILE_BYTES and room >= 0:
            selected.append(name)
    return selected


def _is_below(file: Path, folders: Sequence[Path]) -> bool:
    return any(file.is_relative_to(folder) for folder in folders)
