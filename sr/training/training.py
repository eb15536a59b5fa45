"""One run: data checked, run opened, net trained, best checkpoint tested, everything written down, however it ends."""

import sr.runtime.torchvision_shim  # noqa: F401  before Lightning and torchmetrics

import contextlib
import os
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pytorch_lightning import seed_everything
from pytorch_lightning.utilities import rank_zero_only

from sr.callback import progress_bar
from sr.callback.alarms import AlarmMonitor
from sr.callback.best import BestCheckpoint
from sr.callback.checkpointing import CheckpointWriter
from sr.callback.crash_batch import CrashBatch
from sr.callback.degradation_sheet import DegradationSheet
from sr.callback.interrupt import InterruptHandler
from sr.callback.metrics import MetricLogger
from sr.callback.panels import PanelLogger
from sr.callback.system_metrics import SystemMetrics
from sr.callback.throughput import Throughput, TrainingClock
from sr.checkpoint.load import initialize_weights, restore_weights
from sr.config.build import build_data, build_model, build_part, build_trainer
from sr.config.command_line import list_config_dirs
from sr.config.diff import Change
from sr.data.fingerprint import SetFingerprint
from sr.data.known_leaks import Leak, find_training_leaks
from sr.data.patches import START, DataPosition
from sr.lifecycle.provenance import fingerprint_data, save_fingerprint
from sr.lifecycle.run_end import close_on_exit, end_run, raise_disk_errors
from sr.lifecycle.run_start import RunStart, create_run_folder, save_text
from sr.metric.key import SetKey, name_metrics
from sr.metric.score import group_by_image
from sr.model.gradient import list_trainable
from sr.pretrained.state_dict import read_weights
from sr.record.result import to_json
from sr.runtime import malloc, terminal
from sr.runtime.error import UserError
from sr.track.columns import name_columns
from sr.track.none import NoTracker
from sr.training.branch import find_checkpoint
from sr.training.resume import find_newest_checkpoint
from sr.training.tables import format_checkpoint_table, format_metrics_table

LEAKS_SHOWN = 3  # of each set
UNMEASURED = -1  # the step of a run that was killed before its first checkpoint: the untrained net is measured again


class Reached(NamedTuple):
    """Where the checkpoint was that a training goes on from."""

    step: int
    seen: DataPosition


class Training:
    """Runs the stages of a resolved config. `choices` are the groups' names, `overrides` what was typed, `changes` what
    differs in a run that goes on.
    """

    def __init__(
        self, config: dict[str, Any], choices: dict[str, str], overrides: list[str], changes: Sequence[Change] = ()
    ) -> None:
        self.config, self.choices = config, choices
        self.begun = RunStart("run", config, choices, overrides)
        self.started = time.perf_counter()
        self.first = rank_zero_only.rank == 0  # of several processes, the one that tracks, writes and speaks
        if not self.first:
            sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - as long as the process lives
        terminal.silence_library_warnings()
        malloc.retain_freed_memory()
        seed_everything(config["seed"], workers=True, verbose=False)
        self.data, self.model = build_data(config), build_model(config)
        self.data.select_channels = self.model.metric.select_channels
        self.protocol = self.model.metric.describe(str(self.data.degrade))
        self.tracker = build_part(config["track"], "track") if self.first else NoTracker()
        self.changes = changes
        self.resumed = _run_of(config)
        self.resume = find_newest_checkpoint(self.resumed) if self.resumed else find_checkpoint(config)  # the file
        self.reached = _reached(self.resume) if self.resume else None
        self.opened = False  # only then the folder is this run's
        if self.model.init is not None and self.resume is None:
            initialize_weights(self.model, Path(self.model.init).expanduser())
        self.stages = self._stages()
        self.leaks: list[Leak] = []
        self.fingerprint: list[SetFingerprint] = []

    def run(self) -> float | None:
        """Do all stages; returns the best watched value, or the first tested PSNR when nothing was trained."""
        self._check_data()
        self.folder = self._folder()
        self.clock = TrainingClock()
        inherited = self.resume.parent if self.resume and not self.resumed else None
        self.best = BestCheckpoint(self.folder, self.config["watch"], self.config, self.config["patience"], inherited)
        self.best.measured = {one.name: one.digest for one in self.fingerprint if one.context == "val"}
        keeper = CheckpointWriter(
            self.best, self.config, self.tracker, self.config["save_minutes"], self.config["save_steps"]
        )
        keeper.leaks = [list(leak) for leak in self.leaks]
        callbacks = [
            InterruptHandler(),
            self.best,
            self.clock,
            Throughput(self.tracker, self.clock),
            MetricLogger(self.tracker),
        ]
        callbacks += [progress_bar.TrainingProgressBar()] if self.first else []
        callbacks += [PanelLogger(self.tracker)] if self.tracker.panels else []
        callbacks += [DegradationSheet(self.tracker)] if self.tracker.panels else []
        self.alarms = AlarmMonitor(self.tracker, self.model.alarm)
        callbacks += [self.alarms, CrashBatch(self.folder), keeper]  # the last: what others tell is told before
        self.trainer = build_trainer(self.config, callbacks, self.tracker, not self.model.automatic_optimization)
        self.system = SystemMetrics(
            self.tracker, self.folder, self.tracker.system_interval, lambda: self.trainer.global_step
        )
        with close_on_exit(self._close):
            self._open()
            self._do_stages()
        return self.model.best.values.get(self.best.key, next(iter(self.model.metrics.values()), None))

    def _folder(self) -> Path:
        """Of the first process; the others write nothing."""
        if self.resumed and self.first:
            return self.resumed
        return create_run_folder(self.config["paths"]["runs"], self._title()) if self.first else Path(os.devnull)

    def _stages(self) -> list[str]:
        stages = list(self.config["stages"])
        if "fit" in stages and not list_trainable(self.model.net):
            print(f"model/net={self.choices.get('model/net')} has nothing to learn: it is only tested")
            stages.remove("fit")
        if stages == ["test"] and list_trainable(self.model.net):
            raise UserError(
                f"stages=[test]: model/net={self.choices.get('model/net')} is not trained yet; add fit, or test what you "
                f"have: python -m sr.evaluate checkpoint=FILE"
            )
        return stages

    def _check_data(self) -> None:
        """All faults of the data show here, before there is a run that they could spoil."""
        self.data.prepare_data()
        if "fit" in self.stages:
            self.data.setup("fit")
            if self.data.train_set is None:
                raise UserError(
                    f"data={self.choices['data']} has nothing to train on: name other data, or measure model/net=bicubic"
                )
            self.model.dry_run(self.data.draw_example())
            self.leaks = find_training_leaks(self.data.train_set)
            if self.first:
                self._warn_of_leaks()
        if "test" in self.stages:
            self.data.setup("test")
        if self.first:
            self.fingerprint = fingerprint_data(self.config, self.data, self.model.metric)

    def _warn_of_leaks(self) -> None:
        """Loudly for the sets that this run measures; the others are named, for nobody should test on them later."""
        measured = {Path(name).name for names in self.data.sets.values() for name in names}
        for name in dict.fromkeys(leak.set for leak in self.leaks):
            ours = [str(leak) for leak in self.leaks if leak.set == name]
            shown = (
                f"{', '.join(ours[:LEAKS_SHOWN])}{f' and {len(ours) - LEAKS_SHOWN} more' * (len(ours) > LEAKS_SHOWN)}"
            )
            advice = "its numbers will be too good: take the pictures out"
            advice = advice if name in measured else "do not test on it later, or take the pictures out"
            print(f"{'LEAK' if name in measured else 'note'}: training pictures stand in {name} ({shown}); {advice}",
                  file=sys.stderr)  # fmt: skip

    def _title(self) -> str:
        c = self.choices
        return c.get("experiment") or f"{c['model']}-{c['model/net']}_{c['data']}_x{self.config['scale']}"

    def _open(self) -> None:
        if not self.first:
            return
        more = {"sr.leak": "; ".join(map(str, self.leaks))} if self.leaks else {}
        more |= {"sr.resume.changed": "; ".join(map(str, self.changes))} if self.changes else {}
        more |= {"sr.resumed_from": str(self.resume)} if self.resume and not self.resumed else {}
        device = self.trainer.strategy.root_device
        with raise_disk_errors(self.folder):
            self.begun.open(self.tracker, self.folder, self.model.metric.name, more, device)
            self.opened = True
            if self.resumed:
                (self.folder / "summary.json").unlink(missing_ok=True)  # it told of an end
                step = self.reached.step if self.reached else UNMEASURED
                self.tracker.rewind(step)
                self.tracker.mark_saved(step)
            self.system.start()
            save_fingerprint(self.fingerprint, self.tracker, self.folder)
            self.tracker.log_text("protocol.json", to_json(self.protocol))

    def _do_stages(self) -> None:
        if "fit" in self.stages:
            self.data.position = self.reached.seen if self.reached else START
            self.trainer.fit(self.model, datamodule=self.data, ckpt_path=self.resume, weights_only=True)
            best = self.trainer.strategy.broadcast(self.best.best)
            if best.exists():  # what is tested is what is kept
                restore_weights(self.model.eval_net, best)
                last = {key: value for key, value in self.model.metrics.items() if not key.weights}
                self.model.metrics = last | self.model.best.values
        if "test" in self.stages:
            step = self.trainer.global_step
            self.trainer.test(self.model, datamodule=self.data, verbose=False)
            values = {key: value for key, value in self.model.metrics.items() if key.stage == "test"}
            bicubic = {key: value for key, value in self.model.bicubic.items() if key.stage == "test"}
            values |= {key._replace(weights="bicubic"): value for key, value in bicubic.items()}
            self.tracker.log_points(name_columns(values, self.data, self.model.metric), step)
            self.tracker.log_text("per_image.json", to_json(self._per_image()))

    def _per_image(self) -> dict[str, Any]:
        """`{"test/Set5": {"protocol": …, "images": {"baby": {"psnr": …, "ssim": …, "bicubic_psnr": …}}}}`."""
        result: dict[str, Any] = {}
        for index, chosen in enumerate(self.data.eval_sets["test"]):
            key = SetKey("test", self.data.set_name("test", index))
            values, bicubic = (self.model.per_image[k] for k in (key, key._replace(weights="bicubic")))
            images = group_by_image(chosen.names, values, bicubic)
            result[str(key)] = {"protocol": self.model.metric.name, "images": images}
        return result

    def _close(self, status: str, exit: str | None) -> None:
        if not self.first:
            return
        end_run(self.tracker, self.folder, status, exit, lambda: self._write_down(status))
        if self.opened:
            self._report(status)

    def _write_down(self, status: str) -> None:
        self.system.stop()
        if not self.opened:  # the folder may be another run's, that lives; one that was made for this run is empty
            with contextlib.suppress(OSError):
                self.folder.rmdir()
            return
        save_text(self.tracker, self.folder, "summary.json", to_json(self._summary(status)))
        if self.model.metrics:
            self.tracker.set_description(self._note())

    def _summary(self, status: str) -> dict[str, Any]:
        steps, seconds = self.trainer.global_step, self.clock.seconds
        best = self.model.best.to_plain("best")
        if self.best.best_also:
            best |= self.best.second.to_plain(self.best.best_also.stem)
        return {
            "run_id": self.tracker.run_id,
            "status": status,
            "steps": steps,
            "skipped": self.model.guard.skipped,
            "returned": self.model.guard.rollbacks,
            "steps_per_second": round(steps / seconds, 3) if seconds else None,
            "seconds": round(time.perf_counter() - self.started, 1),
            "train_seconds": round(seconds, 1),
            "energy_wh": {kind: round(wh, 4) for kind, wh in self.system.wh.items()},
            "protocol": self.protocol,
            "leaks": [str(leak) for leak in self.leaks],
            "alarms": self.alarms.told,
            "metrics": name_metrics(self.model.metrics) | best,
            "bicubic": name_metrics(self.model.bicubic),
            "checkpoint": str(kept[0]) if (kept := self.best.list_files()) else None,
        }

    def _note(self) -> str:
        """The run's description for the tracker."""
        lines = [f"    {line}" for line in format_metrics_table(self.model.metrics, self.model.bicubic).splitlines()]
        return "\n".join([f"Protocol {self.model.metric.name}, folder `{self.folder}`", "", *lines])

    def _report(self, status: str) -> None:
        print(f"\n{status.lower()}: {self.trainer.global_step} steps, protocol {self.model.metric.name}")
        if self.model.metrics:
            print("\n" + format_metrics_table(self.model.metrics, self.model.bicubic) + "\n")
        if self.best.second.values and self.best.best_also:
            best = {self.best.best.name: self.model.best, self.best.best_also.name: self.best.second}
            print(format_checkpoint_table(best, (self.best.key, self.best.also)) + "\n")
        for name in self.alarms.told:
            print(f"ALARM       {name}: {'; '.join(self.alarms.told[name])}")
        kept = self.best.list_files()
        if self.tracker.run_id:
            print(f"run         {self.tracker.run_id}")
        print(f"folder      {self.folder}")
        if kept:
            print(f"checkpoint  {kept[0]}")
        if self.tracker.location_line:
            print(self.tracker.location_line)
        if kept or self.tracker.view_command:
            print("\nnext:")
        if status != "FINISHED" and kept:
            print(
                f"  {_python()} -m sr.run {shlex.join([*list_config_dirs(sys.argv), f'resume={_short(self.folder)}'])}"
            )
        if kept:
            print(f"  {_python()} -m sr.predict checkpoint={_short(kept[0])} input=YOUR.png output=enlarged")
            print(f"  {_python()} -m sr.evaluate checkpoint={_short(kept[0])} data.test=[Set5,Set14]")
        if page := self.tracker.view_command:
            print(f"  {page if page.startswith('http') else f'{_python()} -m {page}'}")


def _reached(path: Path) -> Reached:
    content = read_weights(path)
    batches = content["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["completed"]
    return Reached(content["global_step"], DataPosition(content["epoch"], batches))


def _run_of(config: dict[str, Any]) -> Path | None:
    """The folder of the run that goes on, if one does."""
    path = Path(config["resume"] or "").expanduser()
    return path.resolve() if config["resume"] and path.is_dir() else None


def _python() -> str:
    """What to type for this very Python: `python` alone only where its environment is active."""
    found = shutil.which("python")
    return "python" if found and Path(found).parent == Path(sys.executable).parent else _short(Path(sys.executable))


def _short(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
