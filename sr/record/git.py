"""The code of a run: its commit, and one patch that turns that commit into what ran, untracked files included.

Nothing of the user's is touched: the patch is made through an index and an object store of its own, in a temporary folder.
"""

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

HELD = 1_000_000  # bytes of an untracked file that the patch still holds
ALL_HELD = 16_000_000  # bytes of all of them
SECRET = re.compile(r"\.env(\..+)?|\.netrc|id_(rsa|dsa|ecdsa|ed25519)|.+\.(pem|key|p12|pfx)|credentials.*|secrets?\..*")
SECONDS = 20  # that git may take


class Changes(NamedTuple):
    """What a tree has beyond its commit."""

    patch: bytes = b""  # for `git apply`; empty where the tree is clean
    left_out: tuple[str, ...] = ()  # untracked files that are too large for it, or none of its business
    whole: bool = True  # False: git failed, or took too long


def find_checkout() -> Path | None:
    """The git checkout that `sr` runs from; None where it is installed from a wheel."""
    folder = Path(__file__).resolve().parents[2]
    return folder if (folder / ".git").exists() else None  # a wheel may lie inside somebody else's repository


def read_state(folder: Path | None) -> dict[str, str]:
    """SHA, branch and whether the tree is dirty; empty outside of a checkout."""
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


def read_changes(folder: Path, apart: Sequence[Path] = ()) -> Changes:
    """The difference of the tree in `folder` to its commit; what lies in the folders `apart` (runs, data) is no code."""
    apart = [place for place in apart if place != folder and place.is_relative_to(folder)]
    with tempfile.TemporaryDirectory(prefix="sr-") as own:
        env = _own_index(folder, Path(own))
        found = run_git(folder, "ls-files", "--others", "--exclude-standard", "-z", env=env) if env else None
        if env is None or found is None:
            return Changes(whole=False)
        untracked = [name for name in found.split(b"\0") if name and not _within(folder / os.fsdecode(name), apart)]
        held = _held(folder, untracked)
        done = [run_git(folder, "add", "--update", env=env)]
        done += (
            [run_git(folder, "update-index", "--add", "-z", "--stdin", env=env, fed=b"\0".join(held))] if held else []
        )
        words = ("diff-index", "--cached", "--binary", "--full-index", "--no-renames", "--no-ext-diff", "--no-textconv")
        patch = run_git(folder, *words, "HEAD", env=env)
    left_out = tuple(os.fsdecode(name) for name in untracked if name not in held)
    return Changes(patch or b"", left_out, patch is not None and None not in done)


def _own_index(folder: Path, own: Path) -> dict[str, str] | None:
    """Git's variables for a copy of the index, whose objects go to `own` as well; None where git does not answer."""
    places = run_git(folder, "rev-parse", "--path-format=absolute", "--git-path", "index", "--git-path", "objects")
    if not places:
        return None
    index, objects = os.fsdecode(places).splitlines()
    if Path(index).exists():
        shutil.copy2(index, own / "index")  # with its time, by which git tells what may have changed since
    (own / "objects").mkdir()
    return {
        "GIT_INDEX_FILE": str(own / "index"),
        "GIT_OBJECT_DIRECTORY": str(own / "objects"),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": objects,
    }


def _held(folder: Path, names: list[bytes]) -> list[bytes]:
    """The untracked files that the patch has room for, the smallest first. A repository inside ends in a slash; what looks
    like a password or a key stays where it is, for the patch is sent to the tracker."""
    sizes = {}
    for name in names:
        path = folder / os.fsdecode(name)
        if SECRET.fullmatch(path.name) or name.endswith(b"/") or not (path.is_symlink() or os.access(path, os.R_OK)):
            continue
        with contextlib.suppress(OSError):  # gone already
            sizes[name] = path.lstat().st_size
    held, room = [], ALL_HELD
    for name, size in sorted(sizes.items(), key=lambda item: item[1]):
        room -= size
        if size <= HELD and room >= 0:
            held.append(name)
    return held


def _within(file: Path, folders: Sequence[Path]) -> bool:
    return any(file.is_relative_to(folder) for folder in folders)


def run_git(folder: Path, *words: str, env: dict[str, str] | None = None, fed: bytes | None = None) -> bytes | None:
    """What git prints; None where there is no git or it fails."""
    command = ["git", "-c", "core.splitIndex=false", "-c", "core.fsmonitor=false", "-C", str(folder), *words]
    try:
        done = subprocess.run(
            command, input=fed, capture_output=True, env=clean_environment() | (env or {}), timeout=SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def clean_environment() -> dict[str, str]:
    """This process's, in which git takes no locks that it does not need, and knows no repository but the one it is given."""
    others = {key: value for key, value in os.environ.items() if not key.startswith("GIT_") or "CONFIG" in key}
    return others | {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
