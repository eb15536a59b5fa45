"""`resume=`: which run goes on, from which of its files, and with which of its dials.

A run's folder, or its id, continues that very run: what was typed when it began stands before what is typed now, so that
`resume=RUN` alone is enough. A checkpoint begins a new run. `auto` is for machines that start a command again after
they have killed it: the newest unfinished run of the same words goes on, and where there is none, one begins.
"""

import contextlib
import os
import re
import shlex
import sys
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from sr.config.command_line import quote_override
from sr.config.renamed import update_override
from sr.record.checkpoint_files import RESUMABLE
from sr.record.identity import RUN_FILE, find_run, read_identity
from sr.record.redact import MASK, mask_passwords
from sr.record.result import SUMMARY_FILE, RunResult, read_run_result
from sr.runtime.error import UserError
from sr.track.run_address import parse_run_id

AUTO = "auto"
FIXED = (
    "model._target_", "model.net", "model.discriminator", "model.optimizer", "model.discriminator_optimizer", "metric",
    "color", "scale",
)  # fmt: skip


class PastRun(NamedTuple):
    """What a run's folder tells of it."""

    folder: Path
    status: str | None
    is_alive: bool  # its process is there still

    @property
    def typed(self) -> list[str] | None:
        """The overrides of its command line; None where they were not kept."""
        words = _yaml(self.folder / "overrides.yaml")
        return (
            [update_override(word) if isinstance(word, str) else word for word in words]
            if isinstance(words, list)
            else words
        )


def expand_overrides(typed: list[str]) -> list[str]:
    """The command line with what it takes over from the run that `resume=` names, and that run's folder in its place."""
    given = [word for word in typed if word.startswith("resume=")]
    wanted = _plain(given[-1].partition("=")[2]) if given else ""
    if wanted in ("", "null") or Path(wanted).expanduser().is_file():
        return typed
    rest = [word for word in typed if word not in given]
    if wanted == AUTO:
        _refuse_several(rest)
    run = _newest_like(rest) if wanted == AUTO else _named(wanted, _runs(rest))
    if run is None:
        print("resume=auto: no unfinished run of these words has a checkpoint, so a new one begins")
        return rest
    if wanted == AUTO:
        print(f"resume=auto: {run.folder} goes on")
    typed_now = set(map(parse_key, rest))
    before = [word for word in read_overrides(run.folder) if parse_key(word) not in typed_now]
    if "track" in typed_now:  # another tracker has other dials
        before = [word for word in before if not parse_key(word).startswith("track.")]
    lost = [parse_key(word) for word in before if MASK in word]
    if lost:
        raise UserError(f"resume={run.folder}: a password in {', '.join(lost)} was not kept: type this again")
    return [*before, *rest, f"resume={quote_override(str(run.folder))}"]


def read_overrides(folder: Path) -> list[str]:
    """What was typed when the run of this folder began. Options and Hydra's own dials are none of it, whoever wrote them;
    nor is `trust`: a folder cannot say of itself that it is trusted.
    """
    found = _yaml(folder / "overrides.yaml")
    found = [] if found is None else found
    if not isinstance(found, list) or not all(isinstance(word, str) for word in found):
        raise UserError(f"resume={folder}: its overrides.yaml is damaged: expected a list of words")
    strange = [word for word in found if word.strip().startswith("-") or "hydra" in _rooms(word)]
    if strange:
        raise UserError(f"resume={folder}: its overrides.yaml was not written by sr ({', '.join(strange)})")
    return [update_override(word) for word in found if not {"resume", "trust"} & _rooms(word)]


def find_newest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint of a run that is whole; None where it was killed before the first one."""
    there = [path for path in (folder / name for name in RESUMABLE) if path.exists()]
    for path in there:
        if is_intact(path):
            return path
        print(f"resume: {path.name} is cut off or damaged, so the one before it is taken", file=sys.stderr)
    if there:
        raise UserError(f"resume={folder}: none of its checkpoints is whole ({', '.join(path.name for path in there)})")
    return None


def is_intact(path: Path) -> bool:
    """Whether every byte of a file of torch.save is as it was written; neither torch nor time is needed to tell."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile, EOFError):
        return False


def read_past_run(folder: Path) -> PastRun:
    """From `run.json`, or where there is none, as without a tracker, from the summary that was written at the end."""
    run = read_identity(folder)
    return PastRun(folder, run.status if run else _read_result(folder).status, bool(run and run.is_alive))


def parse_key(word: str) -> str:
    """`model/net` of `model/net=edsr`, `seed` of `+seed=3`."""
    return word.partition("=")[0].strip().lstrip("+~").strip()


def _rooms(word: str) -> set[str]:
    """Where in the config a word leads: `data/degrade@trust.x=real` is of the group `data`, and goes into `trust`."""
    return {re.split(r"[./\[\s]", part.strip())[0] for part in parse_key(word).replace(":", "@").split("@")}


def _named(wanted: str, runs: Path) -> PastRun:
    """The run of a folder or an id; the tracker's ID of older runs is in their summary."""
    word = parse_run_id(wanted) or wanted
    older = [path for path in _folders(runs) if _read_result(path).run_id == word]
    run = read_past_run((older[0] if older else find_run(runs, word, "resume")).resolve())
    if not any((run.folder / name).exists() for name in (RUN_FILE, "config.yaml", SUMMARY_FILE, *RESUMABLE)):
        raise UserError(
            f"resume={wanted}: expected a run's folder; there is neither config.yaml nor a checkpoint in it"
        )
    made = read_identity(run.folder)
    if made and made.command not in ("", "run"):
        raise UserError(f"resume={wanted}: this is no training, but was made by sr.{made.command}: begin that anew")
    if run.is_alive and not _rank():  # where several train, the first one may have opened it already
        raise UserError(f"resume={wanted}: this run is still running, in {run.folder}; stop it first")
    return run


def _newest_like(typed: list[str]) -> PastRun | None:
    """The newest run that was begun by the same words, is neither finished nor running, and can be resumed."""
    wanted = {mask_passwords(_plain(word)) for word in typed if not word.startswith("-")}
    for folder in reversed(_folders(_runs(typed))):
        run = read_past_run(folder)
        known_as = {mask_passwords(_plain(word)) for word in run.typed or () if parse_key(word) != "resume"}
        same = run.typed is not None and known_as == wanted
        if (
            same
            and run.status != "FINISHED"
            and not run.is_alive
            and any(is_intact(folder / name) for name in RESUMABLE)
        ):
            return run
    return None


def _refuse_several(typed: list[str]) -> None:
    """Each job, and each process that somebody else has started, would search for itself, and find another run."""
    if {"-m", "--multirun"} & set(typed):
        raise UserError("resume=auto: -m makes several runs; type one command for each of them, without -m")
    count = max(int(os.environ.get(name) or 1) for name in ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS"))
    if count > 1:
        raise UserError(
            f"resume=auto: each of the {count} processes that were started here (torchrun, srun) would search for itself. "
            f"Start one, with trainer.devices={count}, or name the run: resume=FOLDER"
        )


def _rank() -> int:
    """Of several processes that train together, which this is."""
    return next((int(os.environ[name]) for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID") if os.environ.get(name)), 0)


def _folders(runs: Path) -> list[Path]:
    """Their names begin with when they began."""
    return sorted(path for path in runs.glob("*") if path.is_dir())


def _runs(typed: list[str]) -> Path:
    """`paths.runs`, before there is a config."""
    said = [word.partition("=")[2] for word in typed if parse_key(word) == "paths.runs"]
    return Path(_plain(said[-1]) if said else os.environ.get("SR_RUNS", "runs")).expanduser().resolve()


def _plain(word: str) -> str:
    """A word without Hydra's quotation marks."""
    name, equals, value = word.partition("=") if "=" in word else ("", "", word)
    if value[:1] in ("'", '"') and value[-1:] == value[:1]:
        with contextlib.suppress(ValueError):
            value = "".join(shlex.split(value))
    return name + equals + value


def _read_result(folder: Path) -> RunResult:
    """Return the summary of a run, an empty one if it has none."""
    return read_run_result(folder, skip_damaged=True) or RunResult()


def _yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return None
