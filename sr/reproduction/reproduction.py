"""Repeat a run in its own commit with its own changes, and compare every number of both."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from sr.data.fingerprint import find_data_differences
from sr.reproduction import environment
from sr.reproduction.locate import LocatedRun
from sr.reproduction.metrics import compare_metrics, read_points, select_trackable
from sr.reproduction.outcome import CLOSE, DIFFERENT, EQUAL, Outcome
from sr.reproduction.recorded_run import RecordedRun, read_run
from sr.reproduction.repetition import build_command, repeat_run, resolve_paths
from sr.reproduction.targets import check_run_targets
from sr.reproduction.weights import compare_weights
from sr.reproduction.worktree import check_commit, create_worktree, find_clone, list_changed_files
from sr.runtime.error import UserError

MAX_LINES = 20  # printed of one kind


class Reproduction:
    """Repeats one run; the arguments are the options of `conf/reproduce.yaml`."""

    def __init__(
        self, located: LocatedRun, *, dry: bool, force: bool, tolerance: float, repository: str | None,
        trust: Sequence[str], paths: dict[str, str | None],
    ) -> None:  # fmt: skip
        self.dry, self.force, self.tolerance, self.repository, self.trust = dry, force, tolerance, repository, trust
        self.run, self.tracker_id = read_run(*located), located.tracker_id
        self.paths = resolve_paths(self.run, paths)

    def execute(self) -> bool:
        """Return whether everything is equal, or within the tolerance; with `dry`, whether the run would be repeated."""
        run = self.run
        clone = find_clone(self.repository)
        check_commit(clone, run.commit)
        check_run_targets(run, clone, self.trust)
        self._print_plan(clone)
        images = environment.find_image_differences(run, self.paths.data, self.paths.cache)
        _print_lines("machine", environment.find_machine_differences(run))
        _print_lines("packages", environment.find_package_differences(run))
        _print_lines("images", images)
        if images and not (self.force or self.dry):
            raise UserError(f"{len(images)} file(s) are not those of the run (see above): restore them, or force=true")
        if self.dry:
            return not images
        with create_worktree(clone, run.commit, run.patch) as tree:
            folder = repeat_run(run, tree, self.paths)
        return self._compare(read_run(folder))

    def _print_plan(self, clone: Path) -> None:
        run, changed = self.run, list_changed_files(self.run.patch)
        state = f"with changes to {len(changed)} file(s)" if changed else "clean"
        print(f"run       {run.id} in {run.folder}")
        print(f"commit    {run.commit[:12]} of {clone}, {state}")
        _print_lines("changes", changed)
        if run.environment.get("patch_is_whole") is False:
            _print_lines("changes", ["could not be saved: git failed when the run began"])
        _print_lines(
            "changes", [f"resumed under commit {commit}, which is not repeated" for commit in run.later_commits]
        )
        _print_lines("not saved", [str(name) for name in run.environment.get("not_in_patch") or []])
        print(f"command   {shlex.join(build_command(run, Path('COMMIT'), self.paths))}")
        print(f"in        {self.paths.working_dir}")

    def _compare(self, repetition: RecordedRun) -> bool:
        """Print all differences between the run and its repetition; return whether it is reproduced."""
        run = self.run
        print(f"\n{run.folder.name} and its repetition, {repetition.folder.name}:")
        if (repetition.commit, repetition.patch) != (run.commit, run.patch):
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
        print(f"\nreproduced: {quality}" if DIFFERENT not in kinds else "\nNOT reproduced")
        return DIFFERENT not in kinds


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
