"""`resume=`: find the run that is resumed, its newest intact checkpoint, and the options that it began with.

A run's folder or its ID resumes that very run: its own overrides come before those of the command line, so that
`resume=RUN` alone is enough. A checkpoint begins a new run. `auto` is for machines that start a command again after they
have killed it: it resumes the newest unfinished run of the same command, and begins a new run if there is none.
"""

import os
import re
import shlex
import sys
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from sr.config.command_line import quote_text, read_text
from sr.config.renamed import update_override
from sr.pretrained.archive import is_intact
from sr.record.checkpoint_files import RESUMABLE
from sr.record.identity import FINISHED, RUN_FILE, find_run, read_identity
from sr.record.result import SUMMARY_FILE, RunResult, read_run_result
from sr.record.run_folder import OVERRIDES_FILE
from sr.record.trial import SUMMARY_COMMAND
from sr.runtime.error import UserError
from sr.runtime.launch import find_rank
from sr.runtime.redact import is_masked, mask_passwords
from sr.runtime.rendezvous import share_first_answer
from sr.runtime.special_file import describe_special_file
from sr.track.address import LOGIN_ADVICE, restore_credentials
from sr.track.run_address import parse_run_id

AUTO = "auto"


class PastRun(NamedTuple):
    """A run as its folder describes it."""

    folder: Path
    status: str | None  # RUNNING, FINISHED, FAILED or KILLED
    is_alive: bool  # its process still exists

    @property
    def overrides(self) -> list[str] | None:
        """The overrides of its command line; None if they were not stored, or are damaged."""
        words = _read_yaml(self.folder / OVERRIDES_FILE)
        is_valid = isinstance(words, list) and all(isinstance(word, str) for word in words)
        return list(map(update_override, words)) if is_valid else None


def expand_overrides(words: list[str]) -> list[str]:
    """Return the command line with the overrides of the run that `resume=` names, and that run's folder in its place."""
    resume_words = [word for word in words if word.startswith("resume=")]
    wanted = read_text(resume_words[-1].partition("=")[2]) if resume_words else ""
    if wanted in ("", "null") or Path(wanted).expanduser().is_file():
        return words
    rest = [word for word in words if word not in resume_words]
    if wanted == AUTO:
        folder = _find_automatic(rest, _find_runs_folder(rest))
        if folder is None:
            return rest
        run = read_past_run(folder)
    else:
        run = _find_named_run(wanted, _find_runs_folder(rest))
    keys = set(map(parse_key, rest))
    before = [word for word in read_overrides(run.folder) if parse_key(word) not in keys]
    if "track" in keys:  # another tracker has other options
        before = [word for word in before if not parse_key(word).startswith("track.")]
    before = [restore_credentials(word) for word in before]
    masked = [parse_key(word) for word in before if is_masked(word)]
    if masked:
        raise UserError(
            f"resume={run.folder}: passwords are not stored; type {', '.join(masked)} again, or {LOGIN_ADVICE}"
        )
    return [*before, *rest, f"resume={quote_text(str(run.folder))}"]


def read_overrides(folder: Path) -> list[str]:
    """Return the overrides that the run of a folder began with, without `resume` and `trust`.

    Flags and Hydra's own options are refused, and `trust` is left out: a folder cannot say that it is trusted.
    """
    if not (folder / OVERRIDES_FILE).is_file():
        identity = read_identity(folder)
        typed = mask_passwords(shlex.join(identity.overrides)) if identity and identity.attempts == 1 else "…"
        raise UserError(
            f"resume={folder}: expected the options that the run began with ({OVERRIDES_FILE} is missing: it was killed "
            f"before they were stored); begin a new run: python -m sr.run {typed}"
        )
    words = _read_yaml(folder / OVERRIDES_FILE)
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise UserError(f"resume={folder}: its {OVERRIDES_FILE} is damaged: expected a list of words")
    foreign = [word for word in words if word.strip().startswith("-") or "hydra" in _list_roots(word)]
    if foreign:
        raise UserError(f"resume={folder}: its {OVERRIDES_FILE} was not written by sr ({', '.join(foreign)})")
    return [update_override(word) for word in words if not {"resume", "trust"} & _list_roots(word)]


def find_newest_checkpoint(folder: Path) -> Path | None:
    """Return the newest intact checkpoint of a run; None if it was killed before the first one."""
    paths = [path for path in (folder / name for name in RESUMABLE) if path.exists()]
    for path in paths:
        if is_intact(path):
            return path
        print(f"resume: {path.name} is truncated or damaged, so the one before it is used", file=sys.stderr)
    if paths:
        names = ", ".join(path.name for path in paths)
        raise UserError(f"resume={folder}: expected an intact checkpoint (found damaged ones: {names})")
    return None


def read_past_run(folder: Path) -> PastRun:
    """Read `run.json`, or if there is none, as without a tracker, the summary of the end of the run."""
    run = read_identity(folder)
    return PastRun(folder, run.status if run else _read_result(folder).status, bool(run and run.is_alive))


def parse_key(word: str) -> str:
    """Return the key of an override: `model/net` of `model/net=edsr`, `seed` of `+seed=3`."""
    return word.partition("=")[0].strip().lstrip("+~").strip()


def _list_roots(word: str) -> set[str]:
    """Return the top-level names that an override concerns: `data/degrade@trust.x=real` is of `data` and sets `trust`."""
    return {re.split(r"[./\[\s]", part.strip())[0] for part in parse_key(word).replace(":", "@").split("@")}


def _find_named_run(wanted: str, runs: Path) -> PastRun:
    """Return the training of a folder or an ID; older runs have the tracker's ID in their summary only."""
    run_id = parse_run_id(wanted) or wanted
    older = [path for path in _list_folders(runs) if _read_result(path).run_id == run_id]
    run = read_past_run((older[0] if older else find_run(runs, run_id, "resume")).resolve())
    if not any((run.folder / name).exists() for name in (RUN_FILE, "config.yaml", SUMMARY_FILE, *RESUMABLE)):
        raise UserError(f"resume={wanted}: expected a run's folder (found neither config.yaml nor a checkpoint in it)")
    identity = read_identity(run.folder)
    if identity and identity.command not in ("", "run"):
        found = f"a run of sr.{identity.command}); start that again"
        if identity.command == SUMMARY_COMMAND:
            found = "the summary of a sweep); the sweep's own command continues it"
        raise UserError(f"resume={wanted}: expected a training (found {found}")
    if run.is_alive and not find_rank():  # of several processes, the first one may have opened it already
        raise UserError(f"resume={wanted}: this run is still running, in {run.folder}; stop it first")
    return run


def _find_automatic(overrides: list[str], runs: Path) -> Path | None:
    """Return the folder of the run that `resume=auto` continues, and say which; None if a new run begins.

    All processes that torchrun or srun has started get the answer of the first one, which may open the run before the
    others have looked for it.
    """
    run = None if find_rank() else _find_unfinished_run(overrides, runs)
    folder = share_first_answer("" if run is None else str(run.folder), "resume=auto")
    if not find_rank():
        found = (
            f"resuming {folder}"
            if folder
            else "no unfinished run of this command has a checkpoint, so a new run begins"
        )
        print(f"resume=auto: {found}")
    return Path(folder) if folder else None


def _find_unfinished_run(overrides: list[str], runs: Path) -> PastRun | None:
    """Return the newest run of these overrides that is neither finished nor running, and has an intact checkpoint."""
    wanted = {mask_passwords(_unquote(word)) for word in overrides if not word.startswith("-")}
    for folder in reversed(_list_folders(runs)):
        run = read_past_run(folder)
        if run.overrides is None or run.is_alive or run.status == FINISHED:
            continue
        stored = {mask_passwords(_unquote(word)) for word in run.overrides if parse_key(word) != "resume"}
        if stored == wanted and any(is_intact(folder / name) for name in RESUMABLE):
            return run
    return None


def _list_folders(runs: Path) -> list[Path]:
    """Return the folders of runs, the oldest first: their names begin with the time of their start."""
    return sorted(path for path in runs.glob("*") if path.is_dir())


def _find_runs_folder(words: list[str]) -> Path:
    """Return `paths.runs` before there is a config."""
    values = [word.partition("=")[2] for word in words if parse_key(word) == "paths.runs"]
    return Path(read_text(values[-1]) if values else os.environ.get("SR_RUNS", "runs")).expanduser().resolve()


def _unquote(word: str) -> str:
    """Return an override without Hydra's quotation marks."""
    name, equals, value = word.partition("=")
    return name + equals + read_text(value)


def _read_result(folder: Path) -> RunResult:
    """Return the summary of a run, an empty one if it has none."""
    return read_run_result(folder, skip_damaged=True) or RunResult()


def _read_yaml(path: Path) -> Any:
    try:
        return None if describe_special_file(path) else yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return None
