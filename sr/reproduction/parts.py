"""The parts of a run that was resumed: each has the options, the code and the machine of its own command."""

import hashlib
import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

from sr.record.identity import FINISHED
from sr.record.journal_format import JOURNAL_FILE, read_entries
from sr.reproduction.recorded_run import RecordedRun, read_bytes, read_environment
from sr.runtime.error import UserError

FREE_OPTIONS = ("paths.", "track", "hydra", "resume", "trust", "checkpoint_minutes", "checkpoint_steps")  # no influence


class Parts(NamedTuple):
    """The parts that are repeated one after the other, and the reasons why the result may differ all the same."""

    parts: list[RecordedRun]  # each with the options, environment and patch of its own command
    doubts: list[str]


def split_run(run: RecordedRun) -> Parts:
    """Return the parts of a run, one for each change of its options; a run with no such change has one.

    Where it was only interrupted and resumed, a part goes on: that changes no number. Raise if a part ended before its
    last step and the next one has other options, because then nothing says how to end it at the same step again.
    """
    attempts = _read_attempts(run)
    if len(attempts) == 1:
        return Parts([run], [])
    if not all("command" in attempt.environment for attempt in attempts):
        return Parts([run], ["the options of its attempts are not recorded, so it is repeated as one run"])
    ends, parts, doubts = _read_ends(run.folder), attempts[:1], []
    if len(ends) != len(attempts) - 1:  # track=none, or a run that was downloaded
        ends = [None] * (len(attempts) - 1)
    for number, (end, attempt) in enumerate(zip(ends, attempts[1:], strict=True), 1):
        if _select_words(attempt) == _select_words(parts[-1]):
            if (attempt.commit, attempt.patch) != (parts[-1].commit, parts[-1].patch):
                doubts.append(f"it was resumed with other code, of commit {attempt.commit[:12]}, which is not repeated")
            continue
        if end is None:
            doubts.append(f"it is not recorded whether attempt {number} had reached its last step")
        elif end != FINISHED:
            raise UserError(_describe_unrepeatable(run, attempts, number, end))
        parts.append(attempt)
    if len(parts) == 1:  # options of tracking and paths may have been added later
        parts = [parts[0]._replace(overrides=run.overrides)]
    return Parts(parts, doubts)


def list_new_words(part: RecordedRun, before: RecordedRun) -> list[str]:
    """Return the overrides of a part that the one before it did not have."""
    return [word for word in _select_words(part) if word not in _select_words(before)]


def _select_words(part: RecordedRun) -> list[str]:
    """Return the overrides that have an influence on the numbers, in a fixed order."""
    return sorted(word for word in part.overrides if not word.lstrip("+~").startswith(FREE_OPTIONS))


def _read_attempts(run: RecordedRun) -> list[RecordedRun]:
    """Return the run as each of its commands started it: environment.yaml, environment.2.yaml …"""
    environments = [run.environment, *map(read_environment, _list_numbered(run.folder, "environment.*.yaml"))]
    patches = [read_bytes(path) for path in _list_numbered(run.folder, "changes*.patch")]
    attempts = []
    for environment in environments:
        patch = _find_patch(environment, patches)
        attempts.append(run._replace(environment=environment, patch=patch, overrides=_parse_words(environment)))
    return attempts


def _find_patch(environment: dict[str, Any], patches: list[bytes]) -> bytes:
    """Return the patch of one command: that with the recorded checksum, or the next one if its source was changed.

    Files are numbered as they are written, and clean source has none: the first patch may be of the second command.
    """
    if "patch_sha256" in environment:
        return next((p for p in patches if hashlib.sha256(p).hexdigest() == environment["patch_sha256"]), b"")
    return patches.pop(0) if environment["git"].get("dirty") == "true" and patches else b""


def _parse_words(environment: dict[str, Any]) -> list[str]:
    """Return the overrides of a recorded command line."""
    try:
        words = shlex.split(str(environment.get("command")))
    except ValueError:
        words = []
    start = next((k for k, word in enumerate(words) if re.fullmatch(r"sr\.\w+", word)), len(words))
    return [word for word in words[start + 1 :] if not word.startswith("-")]


def _list_numbered(folder: Path, pattern: str) -> list[Path]:
    """Return the files in the order of their numbers: changes.patch, changes.2.patch … changes.10.patch."""
    return sorted(folder.glob(pattern), key=lambda path: (len(path.name), path.name))


def _read_ends(folder: Path) -> list[str | None]:
    """Return the status with which each attempt but the last had ended, from the journal; `killed` without a status."""
    ends, status = [], "killed"
    for placed in read_entries(folder / JOURNAL_FILE, only=(b'{"again"', b'{"status"')):
        if "again" in placed.entry:
            ends.append(status)
        status = str(placed.entry.get("status", "killed"))
    return ends


def _describe_unrepeatable(run: RecordedRun, attempts: list[RecordedRun], number: int, end: str) -> str:
    lines = [f"  {k}. {attempt.environment.get('command')}" for k, attempt in enumerate(attempts, 1)]
    return (
        f"run={run.folder.name}: cannot be repeated: it was resumed with other options after attempt {number}, which "
        f"ended before its last step ({end.lower()}), and no command ends at that step again. Its attempts:\n"
        + "\n".join(lines)
    )
