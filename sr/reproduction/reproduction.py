"""A run done again, in its own commit with its own changes, and set beside the first number by number."""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from sr.data.fingerprint import find_data_differences
from sr.record.machine import VARIABLES
from sr.reproduction import environment, final, past, points
from sr.reproduction.found import Found
from sr.reproduction.points import CLOSE, EQUAL, OTHER, Outcome
from sr.reproduction.strangers import refuse
from sr.reproduction.worktree import check_commit, repository, touched, worktree
from sr.runtime.error import UserError
from sr.track.run_start import REPRODUCES

OURS = ("paths.", "track.uri", "track.runs", "hydra", "resume")  # what is never taken from the run's command line
NOT_SET = ("SR_DATA", "CUDA_VISIBLE_DEVICES")  # variables that are this machine's own
ENDING = 120.0  # seconds that an interrupted run has for keeping what it has
SHOWN = 20  # lines of one kind


class Reproduction:
    """What `conf/reproduce.yaml` describes."""

    def __init__(
        self, run: Found, *, dry: bool, force: bool, tolerance: float, repository: str | None, trust: Sequence[str],
        paths: dict[str, str | None],
    ) -> None:  # fmt: skip
        self.dry, self.force, self.tolerance, self.named = dry, force, tolerance, repository
        self.runs = Path(paths["runs"]).expanduser().resolve()
        self.cache = Path(paths["cache"]).expanduser().resolve() if paths["cache"] else None
        self.past, self.tracked = past.read(*run), run.tracked
        self.trust = trust
        self.data = self._data(paths["data"])

    def go(self) -> bool:
        """Whether all is equal, or within the tolerance; with `dry`, whether it would be tried."""
        run = self.past
        clone = repository(self.named)
        check_commit(clone, run.sha)
        refuse(run, clone, self.trust)
        self._announce(clone)
        images = environment.of_images(run, self.data, self.cache)
        _tell("machine", environment.of_machine(run))
        _tell("packages", environment.of_packages(run))
        _tell("images", images)
        if images and not (self.force or self.dry):
            raise UserError(f"{len(images)} file(s) are not those of the run (see above): mend that, or force=true")
        if self.dry:
            return not images
        with worktree(clone, run.sha, run.patch) as folder:
            again = self._repeat(folder)
        return self._compare(past.read(again))

    def _data(self, typed: str | None) -> Path:
        """Where the image sets lie: as typed, else where they lay, else in SR_DATA."""
        there = Path(str(environment.part(self.past.config, "paths").get("data")))
        there = there if there.is_absolute() else self._cwd() / there
        found = typed or (str(there) if there.is_dir() else os.environ.get("SR_DATA") or str(there))
        return Path(found).expanduser().resolve()

    def _cwd(self) -> Path:
        """Where the run was typed, if that is on this machine: paths on its command line may be relative to it."""
        there = Path(str(self.past.about.get("folder")))
        return there if there.is_dir() else Path.cwd()

    def _announce(self, clone: Path) -> None:
        run, changed = self.past, touched(self.past.patch)
        print(f"run       {run.id} in {run.folder}")
        print(
            f"commit    {run.sha[:12]} of {clone}, {f'with changes to {len(changed)} file(s)' if changed else 'clean'}"
        )
        _tell("changes", changed)
        if run.about.get("patch_is_whole") is False:
            _tell("changes", ["could not be kept: git failed when the run began"])
        _tell("changes", [f"it went on under commit {sha}, which is not repeated" for sha in run.other_code])
        _tell("not kept", [str(name) for name in run.about.get("not_in_patch") or []])
        print(f"command   {shlex.join(self._command(Path('COMMIT')))}")
        print(f"in        {self._cwd()}")

    def _command(self, tree: Path) -> list[str]:
        """The run's own words, with this machine's places."""
        typed = [word for word in self.past.typed if not word.lstrip("+~").startswith(OURS) or self._begins(word)]
        places = [f"paths.data={self.data}", f"paths.runs={self.runs}"]
        places += [f"paths.cache={self.cache}"] if self.cache else []
        inside = [f"--config-dir={tree / part}" for part in self.past.parts_inside]
        parts = inside or [f"--config-dir={part}" for part in self.past.parts]  # Hydra takes one
        return ["python", "-m", f"sr.{self.past.verb}", *parts, *typed, *places]

    def _begins(self, word: str) -> bool:
        """Whether it names a checkpoint that the run began with; a run that went on is repeated from its beginning."""
        key, _, value = word.partition("=")
        return key == "resume" and (self._cwd() / Path(value.strip("'\"")).expanduser()).is_file()

    def _environment(self, tree: Path) -> dict[str, str]:
        """Variables of a process whose `sr` is the worktree's, and whose flags are the run's."""
        flags = environment.part(self.past.about, "flags")
        there = environment.part(flags, "variables") | {"OMP_NUM_THREADS": flags.get("threads")}
        kept = {k: str(v) for k, v in there.items() if k in VARIABLES and k not in NOT_SET and v is not None}
        mine = {k: v for k, v in os.environ.items() if k not in VARIABLES or k in NOT_SET}
        python = {"PYTHONPATH": os.pathsep.join(filter(None, (str(tree), os.environ.get("PYTHONPATH"))))}
        safe = {"PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}  # the folder where it was typed has an sr of its own
        return mine | kept | python | safe | {REPRODUCES: self.past.id}

    def _repeat(self, tree: Path) -> Path:
        """Run it; the folder of the new run."""
        command = [sys.executable, *self._command(tree)[1:]]
        print(flush=True)
        folder = None
        process = subprocess.Popen(
            command, cwd=self._cwd(), env=self._environment(tree), stdout=subprocess.PIPE, text=True, errors="replace",
            start_new_session=True,
        )  # fmt: skip
        try:
            for line in process.stdout:
                print(line, end="", flush=True)
                found = re.fullmatch(r"folder\s+(/.+)", line.rstrip("\n"))
                folder = Path(found[1]) if found else folder
            code = process.wait()
        except BaseException:  # Ctrl-C as well: it keeps what it has
            process.send_signal(signal.SIGINT)
            _wait(process)
            raise
        finally:
            process.stdout.close()
        if code or folder is None:
            raise UserError(f"the run ended with exit code {code}, so there is nothing to compare")
        return folder

    def _compare(self, again: past.Past) -> bool:
        run = self.past
        print(f"\n{run.folder.name} and its repetition, {again.folder.name}:")
        if (again.sha, again.patch) != (run.sha, run.patch):
            _tell("code", ["is not the run's to the last byte: see changes.patch of both"])
        _tell("config", environment.of_config(run.config, again.config))
        _tell("flags", environment.of_flags(run.about, again.about))
        _tell("images", find_data_differences(run.data, again.data))
        there = list(points.points(run.folder))
        last = None if run.finished else max((step for _, step, _ in there), default=0)
        if last is not None:
            print(f"the run did not finish: it is compared up to step {last}, the last that it told of")
        here = points.points(again.folder)
        here = points.as_tracked(here) if self.tracked else here
        outcomes = points.compare(there, here, self.tolerance, last)
        files = [] if last is not None else final.compare(run.folder, again.folder, self.tolerance)
        _report("metrics", outcomes, "points")
        _report("weights", files, "tensors")
        if not outcomes and not files:
            raise UserError("neither points nor weights of the first run are here, so there is nothing to compare")
        kinds = {one.kind for one in (*outcomes, *files)}
        bits = "equal to the last bit" if kinds == {EQUAL} else f"equal within {self.tolerance:g}"
        print(f"\nreproduced: {bits}" if OTHER not in kinds else "\nNOT reproduced")
        return OTHER not in kinds


def _wait(process: subprocess.Popen) -> None:
    try:
        process.wait(ENDING)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):  # a second Ctrl-C
        process.kill()
        process.wait()


def _tell(what: str, lines: Sequence[str]) -> None:
    for line in lines[:SHOWN]:
        print(f"{what:<9} {line}")
    if len(lines) > SHOWN:
        print(f"{what:<9} … and {len(lines) - SHOWN} more")


def _report(what: str, outcomes: Sequence[Outcome], unit: str) -> None:
    for kind, words in ((EQUAL, "equal to the last bit"), (CLOSE, "within the tolerance"), (OTHER, "NOT equal")):
        ours = [one for one in outcomes if one.kind == kind]
        if ours:
            print(f"{what:<9} {len(ours)} {words} ({sum(one.count for one in ours)} {unit})")
        if kind != EQUAL:
            _tell("", [str(one) for one in ours])
