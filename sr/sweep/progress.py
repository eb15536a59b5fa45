"""One line of progress for a whole sweep: done, running, pruned, failed, time left, and the best value so far."""

import sys
import time
from collections.abc import Sequence

from optuna.trial import TrialState

from sr.runtime.terminal import ProgressBar
from sr.sweep.study import Study

INTERVAL = 0.5  # seconds between two updates


class SweepProgress:
    """A bar of tqdm in a terminal, a line a minute in a log file, nothing with `progress=false`."""

    def __init__(self, study: Study, objectives: Sequence[str]) -> None:
        self.study, self.objectives = study, list(objectives)
        self._last_update = 0.0
        self._states: list[TrialState] = []  # those that the bar shows
        done = len([trial for trial in study.trials if trial.state.is_finished()])
        self._bar = ProgressBar(
            total=max(study.total, done), initial=done, desc="sweep", unit="trial", dynamic_ncols=True, smoothing=0.1
        )

    def update(self, is_forced: bool = False) -> None:
        """Show the present state, at most twice a second unless `is_forced`."""
        now = time.monotonic()
        if not is_forced and now - self._last_update < INTERVAL:
            return
        self._last_update = now
        states = [trial.state for trial in self.study.trials]
        if states != self._states:  # the best value of many trials takes a while to find
            self._states = states
            self._bar.set_postfix_str(self.describe(), refresh=False)
            self._bar.update(sum(state.is_finished() for state in states) - self._bar.n)
        self._bar.refresh()

    def describe(self) -> str:
        """Return the numbers of trials by state, and the best value: `running 2, failed 1, best psnr 30.12`."""
        states = [trial.state for trial in self.study.trials]
        names = {TrialState.RUNNING: "running", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
        parts = [f"{name} {states.count(state)}" for state, name in names.items() if state in states]
        if TrialState.COMPLETE in states:
            parts.append(self._describe_best())
        return ", ".join(parts)

    def write(self, text: str) -> None:
        """Write a line to stderr, above the bar."""
        ProgressBar.write(text, file=sys.stderr)

    def close(self) -> None:
        """Leave the bar as it is."""
        self.update(is_forced=True)
        self._bar.close()

    def _describe_best(self) -> str:
        best = self.study.list_best()
        if len(self.objectives) > 1:
            return f"front {len(best)}"
        return f"best {self.objectives[0]} {best[0].values[0]:.5g}"
