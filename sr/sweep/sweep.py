"""Run a sweep that has been planned: begin it, or continue it, until it has all its trials."""

import sys
from functools import partial
from pathlib import Path

from sr.config.build import build_part
from sr.record import git
from sr.record.identity import lock_run
from sr.runtime.error import UserError
from sr.runtime.terminal import format_count, print_note
from sr.sweep.definition import Definition
from sr.sweep.page import SweepState
from sr.sweep.page_writer import PageWriter
from sr.sweep.plan import SweepPlan
from sr.sweep.pool.gpu import count_gpus
from sr.sweep.pool.pool import Pool
from sr.sweep.progress import SweepProgress
from sr.sweep.result import SweepResult
from sr.sweep.scheduler import Scheduler
from sr.sweep.settings import check_parts, list_random_options
from sr.sweep.study import Study
from sr.sweep.summary_run import log_summary_run

SWEEPS_FOLDER = "sweeps"
COMMIT_DIGITS = 10


class Sweep:
    """One sweep: its folder is opened, and its missing trials are run."""

    def __init__(self, plan: SweepPlan) -> None:
        check_parts(plan.settings)
        self.plan, self.definition = plan, plan.define()
        name = plan.settings["name"] or self.definition.derive_name()
        self.folder = Path(plan.config["paths"]["runs"]).resolve() / SWEEPS_FOLDER / name

    def run(self) -> None:
        """Run all missing trials, print the result, and exit with 3 if some have failed."""
        settings, folder = self.plan.settings, self.folder
        gpus = count_gpus(self.plan.config["trainer"])
        pool = build_part(settings["pool"], "sweep.pool", jobs=settings["jobs"], gpus_per_trial=gpus)
        folder.mkdir(parents=True, exist_ok=True)
        lock = lock_run(folder)  # as that of a run; some file systems of clusters have no locks
        if lock is None:
            raise UserError(f"sweep.name={folder.name}: this sweep is running already, in another process")
        try:
            self.definition.store(folder)
            self._run_trials(pool)
        finally:
            lock.release()

    def _run_trials(self, pool: Pool) -> None:
        plan, folder, objectives = self.plan, self.folder, self.plan.objectives
        directions = list(plan.directions.values())
        study = Study(folder, plan.space, plan.settings, directions, plan.config["seed"], _read_commit())
        result = SweepResult(study, folder, objectives, list(plan.space), plan.trial_words)
        read_state = partial(SweepState.read, study, folder, self.definition, result.format_command)
        writer, progress = PageWriter(study, read_state), SweepProgress(study, objectives)
        report = lambda: (result.write(), writer.update())  # noqa: E731
        jobs = plan.settings["jobs"]
        scheduler = Scheduler(study, folder, plan.trial_words, objectives, jobs, report, pool, progress=progress)
        self._print_start(study)
        try:
            scheduler.run()
        except KeyboardInterrupt:
            progress.close()
            writer.stop()
            result.write()
            print(f"\nthe same command continues this sweep ({folder})")
            raise
        progress.close()
        result.write()
        state = writer.finish()
        log_summary_run(state, plan.config, _list_words(plan, self.definition))
        result.print(can_grow=not plan.is_grid, has_tests="test" in plan.config["stages"])

    def _print_start(self, study: Study) -> None:
        """Say on stderr how much of the sweep there is already, and what its user should know before it goes on."""
        begun, total = len(study.trials), study.total
        done = sum(trial.state.is_finished() for trial in study.trials)
        before = f", {done} of them done already" if begun else ""
        print(f"sweep {self.folder.name}: {format_count(max(total, begun), 'trial')}{before}", file=sys.stderr)
        if begun > total:
            print_note(f"sweep.trials={total}: {begun} trials have begun already; all of them are in the result")
        if len(study.commits) > 1 and done < total:
            print_note(
                f"this sweep began at commit {study.commits[0]} of sr, and goes on at {study.commits[-1]}; trials of "
                "different code may not be comparable: trials.csv has the commit of each"
            )
        random_options = list_random_options(self.plan.settings, self.plan.space)
        if random_options:
            print_note(
                f"{', '.join(random_options)}: chosen at random, for this sampler works on intervals and ranges only"
            )


def _list_words(plan: SweepPlan, definition: Definition) -> list[str]:
    """Return the words of the sweep's command, with its whole search space."""
    return ["-m", *plan.fixed, *(f"{key}={values}" for key, values in definition.space.items())]


def _read_commit() -> str | None:
    """Return the commit of sr, with a mark if the working tree differs from it; None if sr is an installed package."""
    state = git.read_state(git.find_checkout())
    if not state:
        return None
    return state["sha"][:COMMIT_DIGITS] + ("-dirty" if state["dirty"] == "true" else "")
