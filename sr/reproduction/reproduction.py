"""Repeat a run in its own commit with its own changes, and compare every number of both."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from sr.data.fingerprint import find_data_differences
from sr.record import git
from sr.reproduction import environment
from sr.reproduction.locate import LocatedRun
from sr.reproduction.metrics import compare_metrics, read_points, select_trackable
from sr.reproduction.outcome import CLOSE, DIFFERENT, EQUAL, Outcome
from sr.reproduction.parts import split_run
from sr.reproduction.recorded_run import RecordedRun, read_run
from sr.reproduction.repetition import build_command, repeat_run, resolve_paths
from sr.reproduction.targets import check_run_targets
from sr.reproduction.weights import compare_weights
from sr.reproduction.worktree import check_commit, create_worktree, find_clone, list_changed_files, summarize_patch
from sr.runtime.error import UserError

MAX_LINES = 20  # printed of one kind
TRUST_PATCH = "patch"  # in `trust`: execute code of the run that is in no commit


class Reproduction:
    """Repeats one run; the arguments are the options of `conf/reproduce.yaml`."""

    def __init__(
        self, located: LocatedRun, *, dry: bool, force: bool, tolerance: float, repository: str | None,
        trust: Sequence[str], paths: dict[str, str | None],
    ) -> None:  # fmt: skip
        self.dry, self.force, self.tolerance, self.repository, self.trust = dry, force, tolerance, repository, trust
        self.run, self.tracker_id = read_run(*located), located.tracker_id
        self.parts, self.doubts = split_run(self.run)
        self.paths = resolve_paths(self.run, paths)

    def execute(self) -> bool:
        """Return whether everything is equal, or within the tolerance; with `dry`, whether the run would be repeated."""
        run, parts, clone = self.run, self.parts, find_clone(self.repository)
        for part in parts:
            check_commit(clone, part.commit)
            check_run_targets(part, clone, self.trust)
        print(f"run       {run.id} in {run.folder}")
        for number, part in enumerate(parts, 1):
            if len(parts) > 1:
                print(f"part {number} of {len(parts)}")
            self._print_plan(clone, part, parts[number - 2] if number > 1 else None)
        _print_lines("doubt", self.doubts)
        self._check_trust(clone)
        images = environment.find_image_differences(run, self.paths.data, self.paths.cache)
        _print_lines("machine", environment.find_machine_differences(run))
        _print_lines("packages", environment.find_package_differences(run))
        _print_lines("images", images)
        if images and not (self.force or self.dry):
            raise UserError(f"{len(images)} file(s) are not those of the run (see above): restore them, or force=true")
        if self.dry:
            return not images
        folder, before = None, None
        for part in parts:
            with create_worktree(clone, part.commit, part.patch) as tree:
                folder = repeat_run(part, tree, self.paths, folder, before)
            before = part
        return self._compare(read_run(folder))

    def _print_plan(self, clone: Path, part: RecordedRun, before: RecordedRun | None) -> None:
        """Print the code and the command of one part; `before` is the part that it continues."""
        changed = list_changed_files(part.patch)
        state = f"with changes to {len(changed)} file(s)" if changed else "clean"
        print(f"commit    {part.commit[:12]} of {clone}, {state}")
        _print_lines("changes", summarize_patch(clone, part.patch))
        if part.environment.get("patch_is_whole") is False:
            _print_lines("changes", ["could not be saved: git failed when the run began"])
        _print_lines("not saved", [str(name) for name in part.environment.get("not_in_patch") or []])
        command = build_command(part, Path("COMMIT"), self.paths, Path("REPETITION") if before else None, before)
        print(f"command   {shlex.join(command)}")
        print(f"in        {self.paths.working_dir}")

    def _check_trust(self, clone: Path) -> None:
        """Raise if code would run that is neither in a commit of the clone nor proven to have run from it before.

        What a run's folder says about itself proves nothing: it may be a stranger's. With `dry`, only say so.
        """
        foreign = [part for part in self.parts if (part.patch or part.other_config_dirs) and not _is_own(clone, part)]
        if not foreign or TRUST_PATCH in self.trust:
            return
        dirs = [folder for part in foreign for folder in part.other_config_dirs]
        place = "an artifact of the run" if self.tracker_id else self.run.folder
        patch = [f"its changes.patch ({place})"] if any(part.patch for part in foreign) else []
        message = (
            f"this run executes code that has not run from {clone} before: {' and '.join([*patch, *dirs])}. Read it, "
            f"then type trust=[{','.join([*self.trust, TRUST_PATCH])}] to execute it"
        )
        if not self.dry:
            raise UserError(f"run={self.run.folder.name}: {message}")
        print(f"trust     {message}")

    def _compare(self, repetition: RecordedRun) -> bool:
        """Print all differences between the run and its repetition; return whether it is reproduced."""
        run = self.run
        print(f"\n{run.folder.name} and its repetition, {repetition.folder.name}:")
        code = [[(part.commit, part.patch) for part in split_run(r).parts] for r in (run, repetition)]
        if code[0] != code[1]:
            _print_lines("code", ["differs from the run's: see changes.patch of both"])
        _print_lines("config", environment.find_config_differences(run.config, repetition.config))
        _print_lines("flags", environment.find_flag_differences(run.environment, repetition.environment))
        _print_lines("images", find_data_differences(run.data, repetition.data))

        # Metrics and weights; of a run that did not finish, the metrics up to its last step.
        points, last_step = list(read_points(run.folder)), None
        if not run.is_finished:
            last_step = max((point.step for point in points), default=0)
            print(f"the run did not finish: it is compared up to step {last_step}, its last logged one")
        repeated = read_points(repetition.folder)
        repeated = select_trackable(repeated) if self.tracker_id else repeated
        metrics = compare_metrics(points, repeated, self.tolerance, last_step)
        weights = compare_weights(run.folder, repetition.folder, self.tolerance) if run.is_finished else []
        _print_outcomes("metrics", metrics, "points")
        _print_outcomes("weights", weights, "tensors")

        kinds = {outcome.kind for outcome in (*metrics, *weights)}
        if not kinds:
            raise UserError("the run has neither metrics nor weights here, so there is nothing to compare")
        quality = "equal to the last bit" if kinds == {EQUAL} else f"equal within {self.tolerance:g}"
        reasons = f": {'; '.join(self.doubts)}" if self.doubts else ""
        print(f"\nreproduced: {quality}" if DIFFERENT not in kinds else f"\nNOT reproduced{reasons}")
        return DIFFERENT not in kinds


def _is_own(clone: Path, part: RecordedRun) -> bool:
    return git.has_run_code(clone, git.digest_code(part.commit, part.patch, part.other_config_dirs))


def _print_lines(label: str, lines: Sequence[str]) -> None:
    for line in lines[:MAX_LINES]:
        print(f"{label:<9} {line}")
    if len(lines) > MAX_LINES:
        print(f"{label:<9} … and {len(lines) - MAX_LINES} more")


def _print_outcomes(label: str, outcomes: Sequence[Outcome], unit: str) -> None:
    for kind, words in ((EQUAL, "equal to the last bit"), (CLOSE, "within the tolerance"), (DIFFERENT, "NOT equal")):
        selected = [outcome for outcome in outcomes if outcome.kind == kind]
        if selected:
            print(f"{label:<9} {len(selected)} {words} ({sum(outcome.count for outcome in selected)} {unit})")
        if kind != EQUAL:
            _print_lines("", [str(outcome) for outcome in selected])
