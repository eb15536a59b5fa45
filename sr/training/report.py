"""The results of a training: stored as summary.json, and printed with the commands that come next."""

import shlex
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sr.config.allowlist import ALL_PARTS, NET_PARTS, list_untrusted_modules
from sr.config.command_line import find_python, format_command, list_config_dirs
from sr.inference.complexity import count_parameters
from sr.lifecycle.tracked_run import TrackedRun
from sr.metric.key import name_metrics
from sr.model.module import SRModule
from sr.pretrained.download import compute_sha256
from sr.record.checkpoint_files import LAST
from sr.record.identity import FINISHED
from sr.record.result import SUMMARY_FILE, TrainingResult
from sr.runtime.error import DiskError
from sr.runtime.terminal import print_note
from sr.track.stored_checkpoint import FOLDER as CHECKPOINT_FOLDER
from sr.training.callbacks import TrainingCallbacks
from sr.training.cost import NetCost
from sr.training.preparation import PreparedData
from sr.training.tables import format_checkpoint_table, format_metrics_table, list_metric_rows

SETS = ("Set5", "Set14")  # to evaluate on next, if they are here


@dataclass
class TrainingReport:
    """The report of a run, which reads the results from where training leaves them: the model and the callbacks."""

    run: TrackedRun
    model: SRModule
    callbacks: TrainingCallbacks
    prepared: PreparedData
    protocol: dict[str, str | int]  # `Protocol.describe()`
    start_time: float  # `time.perf_counter()` at the start of the run
    cost: NetCost | None = None  # of the net, once it is trained

    def store(self, status: str) -> None:
        """Write summary.json and report.html, and give the tracker the table as the run's description."""
        summary = self.summarize(status)
        self.run.save_text(SUMMARY_FILE, summary.to_json())
        if status == FINISHED:
            self._log_checkpoints()
        if self.model.metrics:
            self._write_page(summary)
            table = [f"    {line}" for line in self._format_metrics().splitlines()]
            title = f"Protocol {self.model.metric.name}, folder `{self.run.folder}`"
            self.run.tracker.set_description("\n".join([title, "", *table]))

    def _log_checkpoints(self) -> None:
        """Let the tracker store the checkpoints that `track.checkpoints` names."""
        tracker = self.run.tracker
        for path in self.callbacks.best.list_files():
            if tracker.checkpoints == "all" or (tracker.checkpoints == "best" and path.name != LAST):
                tracker.log_file(path, CHECKPOINT_FOLDER)

    def _write_page(self, summary: TrainingResult) -> None:
        """Write report.html; a run is not lost for want of its page."""
        from sr.training.report_page import write_report_page

        table = list_metric_rows(self.model.metrics, self.model.bicubic)
        start, tracker = self.run.start, self.run.tracker
        try:
            tracker.flush()  # the page shows what the journal holds
            tracker.log_file(write_report_page(self.run.folder, summary, table, start.config, start.overrides))
        except DiskError:
            raise
        except Exception as error:
            print_note(f"{self.run.folder}: no report.html ({type(error).__name__}: {error})")

    def summarize(self, status: str) -> TrainingResult:
        """Return the summary of a run that ended with this status."""
        best, steps, seconds = self.callbacks.best, self.run.step(), self.callbacks.clock.seconds
        checkpoint = next(iter(best.list_files()), None)
        metrics = name_metrics(self.model.metrics) | self.model.best.to_plain("best")
        if best.second_path:
            metrics |= best.second_best.to_plain(best.second_path.stem)
        return TrainingResult(
            run_id=self.run.tracker.run_id,
            status=status,
            protocol=self.protocol,
            checkpoint=str(checkpoint) if checkpoint else None,
            checkpoint_sha256=compute_sha256(checkpoint) if checkpoint else None,
            steps=steps,
            skipped_steps=self.model.guard.skipped,
            rollbacks=self.model.guard.rollbacks,
            steps_per_second=round(steps / seconds, 3) if seconds else None,
            seconds=round(time.perf_counter() - self.start_time, 1),
            train_seconds=round(seconds, 1),
            **asdict(self.cost or NetCost(count_parameters(self.model.net))),
            energy_wh={kind: round(wh, 4) for kind, wh in self.run.system_metrics.wh.items()},
            leaks=[str(leak) for leak in self.prepared.leaks],
            alarms=self.callbacks.alarms.messages,
            metrics=metrics,
            bicubic=name_metrics(self.model.bicubic),
        )

    def print(self, status: str) -> None:
        """Print the tables, the alarms, where the run is, and the next commands."""
        best = self.callbacks.best
        print(f"\n{status.lower()}: {self.run.step()} steps, protocol {self.model.metric.name}")
        if self.model.metrics:
            print("\n" + self._format_metrics() + "\n")
        if best.second_best.values and best.second_path:
            checkpoints = {best.path.name: self.model.best, best.second_path.name: best.second_best}
            print(format_checkpoint_table(checkpoints, (best.key, best.second_key)) + "\n")
        for line in self.callbacks.alarms.format_advice():
            print(line)
        checkpoint = next(iter(best.list_files()), None)
        self.run.print_location(checkpoint)
        self._print_next_commands(status, checkpoint)

    def _print_next_commands(self, status: str, checkpoint: Path | None) -> None:
        config, commands = self.run.start.config, []
        words = list_config_dirs(sys.argv)
        if checkpoint and status != FINISHED:
            options = {"resume": self.run.folder, **_list_trusted(config)}
            commands.append(format_command("sr.run", options, words))
        if checkpoint:
            options = {"checkpoint": checkpoint, **_list_trusted(config["model"]["net"], NET_PARTS)}
            commands.append(format_command("sr.predict", options | {"input": "YOUR.png", "output": "upscaled"}, words))
            paths = [word for word in self.run.start.overrides if word.startswith("paths.")]
            sets = [name for name in SETS if Path(config["paths"]["data"], name).expanduser().is_dir()]
            is_for_photographs = self.model.color in ("rgb", "y") and self.model.metric.depth == 8
            if sets and is_for_photographs:
                commands.append(format_command("sr.evaluate", options | {"data.test": sets}, [*words, *paths]))
        if page := self.run.tracker.view_command:
            commands.append(page if page.startswith("http") else f"{shlex.quote(find_python())} -m {page}")
        if commands:
            print("\nnext:\n" + "\n".join(f"  {command}" for command in commands))

    def _format_metrics(self) -> str:
        return format_metrics_table(self.model.metrics, self.model.bicubic)


def _list_trusted(node: dict[str, Any], allowed: tuple[str, ...] = ALL_PARTS) -> dict[str, list[str]]:
    """Return the option `trust` that a command needs to build parts of the user's own; empty if there are none."""
    modules = list_untrusted_modules(node, allowed)
    return {"trust": modules} if modules else {}
