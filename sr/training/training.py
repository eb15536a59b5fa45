"""One training run, from its config to the number that a sweep gets back."""

import sr.runtime.torchvision_shim  # noqa: F401  before Lightning and torchmetrics

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning import Trainer, seed_everything

from sr.callback.monitor import find_monitored_metrics
from sr.checkpoint.load import initialize_weights, restore_weights
from sr.config.build import (
    build_data,
    build_model,
    build_part,
    build_trainer,
    check_accelerator,
    warn_of_slow_precision,
)
from sr.config.diff import Change
from sr.config.execution import PLAIN, Execution
from sr.data.leak import Leak
from sr.data.module import SRDataModule
from sr.lifecycle.run_start import RunStart
from sr.lifecycle.tracked_run import TrackedRun
from sr.metric.key import SetKey
from sr.metric.score import group_by_image
from sr.model.layout import disable_compile
from sr.model.module import SRModule
from sr.record.json_text import to_json
from sr.record.result import PER_IMAGE_FILE, ImageResults, image_results_to_json
from sr.runtime import malloc, terminal
from sr.runtime.heartbeat import explain_lost_process
from sr.runtime.launch import find_rank
from sr.runtime.rendezvous import share_first_answer, wait_for_processes
from sr.track.columns import name_columns
from sr.track.none import NoTracker
from sr.track.stored_checkpoint import find_file
from sr.trainer.adapter import LightningData, TrackerLogger
from sr.training.callbacks import build_callbacks
from sr.training.cost import NetCost, log_cost, measure_cost
from sr.training.execution_search import search_execution
from sr.training.preparation import prepare_data, select_stages
from sr.training.report import TrainingReport
from sr.training.starting_point import find_starting_point


class Training:
    """A run of the stages of a resolved config.

    `choices` are the chosen files of the config groups, `overrides` the words of the command line, and `changes` the
    options in which a resumed run differs from before. The folder of the run is `folder` once `run` has begun.
    """

    def __init__(
        self, config: dict[str, Any], choices: dict[str, str], overrides: list[str], changes: Sequence[Change] = ()
    ) -> None:
        self.start_time = time.perf_counter()
        self.config, self.choices, self.overrides, self.changes = config, choices, overrides, changes
        self.is_main = find_rank() == 0  # of several processes, the one that tracks, writes and prints
        if not self.is_main:
            sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - as long as the process lives
        terminal.silence_library_warnings()
        malloc.retain_freed_memory()
        seed_everything(config["seed"], workers=True, verbose=False)
        check_accelerator(config["trainer"]["accelerator"])
        warn_of_slow_precision(config["trainer"])
        self.data: SRDataModule = build_data(config)
        self.model: SRModule = build_model(config)
        self.data.set_protocol(self.model.metric)
        self.monitored = find_monitored_metrics(config, self.data.list_set_names("val"), self.model.metric)
        self.protocol = self.model.metric.describe(str(self.data.degrade))
        self.tracker = build_part(config["track"], "track") if self.is_main else NoTracker()
        self.starting_point = find_starting_point(config)
        if self.model.init is not None and self.starting_point.checkpoint is None:
            init = self.model.init
            initialize_weights(self.model, find_file("model.init", init, config["track"].get("uri")), init)
        self.stages = select_stages(config, choices, self.model.net)

    def run(self) -> float | None:
        """Run all stages; return the best monitored value, or the first tested PSNR if nothing was trained."""
        config, start = self.config, self.starting_point
        prepared = prepare_data(config, self.choices, self.stages, self.data, self.model, self.is_main)
        wait_for_processes()  # an error in the preparation of one of them is no run that failed
        run_start = RunStart("run", config, self.choices, self.overrides)
        perf_reason = self._choose_execution(run_start.changed) if "fit" in self.stages else ""
        self.folder = self._choose_folder(run_start)
        callbacks = build_callbacks(
            config,
            self.model,
            self.tracker,
            self.folder,
            start.parent_folder,
            self.monitored,
            prepared,
            self.is_main,
        )
        trainer = build_trainer(
            config, callbacks.all, TrackerLogger(self.tracker), not self.model.automatic_optimization
        )
        run = TrackedRun(
            run_start,
            self.tracker,
            self.folder,
            step=lambda: trainer.global_step,
            is_main=self.is_main,
        )
        report = TrainingReport(run, self.model, callbacks, prepared, self.protocol, self.start_time)
        resumed_step = start.step if start.resumed_folder else None
        tags = self._collect_tags(prepared.leaks, perf_reason)
        device = trainer.strategy.root_device
        with run.open(report, self.model.metric.name, tags, device, prepared.fingerprint, resumed_step):
            self.tracker.log_text("protocol.json", to_json(self.protocol))
            with explain_lost_process():
                if "fit" in self.stages:
                    self._fit(trainer, callbacks.best.path)
                if "test" in self.stages:
                    self._test(trainer)
            if self.is_main:
                report.cost = self._measure_cost(trainer)
        return self.model.best.values.get(callbacks.best.key, next(iter(self.model.metrics.values()), None))

    def _choose_folder(self, run_start: RunStart) -> Path:
        """Return the folder of the resumed run, or a new one; only the main process writes into it."""
        if not self.is_main:
            return Path(os.devnull)
        return self.starting_point.resumed_folder or run_start.create_folder()

    def _choose_execution(self, changed: Sequence[str]) -> str:
        """Put the fastest options of the trainer into the config, if `perf=` asks for them; return why they were chosen.

        `changed` are the options that were typed, or that the experiment sets: they stay. A run that is resumed has its
        choice already, unless it gets another `perf=`. Of several processes the main one measures.
        """
        config = self.config
        is_chosen = self.starting_point.resumed_folder and all(change.key != "perf" for change in self.changes)
        if config["perf"] == PLAIN or is_chosen:
            return ""
        answer = ""
        if self.is_main:
            choice = search_execution(config, changed, self.model, self.data)
            print(f"perf={config['perf']}: {choice.reason}")
            answer = json.dumps(choice)
        execution, reason = json.loads(share_first_answer(answer, f"perf={config['perf']}"))
        config["trainer"] |= Execution(*execution)._asdict()
        return reason

    def _collect_tags(self, leaks: Sequence[Leak], perf_reason: str) -> dict[str, str]:
        """Return the tags by which this run differs from others of the same config."""
        start = self.starting_point
        tags = {"sr.leak": "; ".join(map(str, leaks)), "sr.perf": perf_reason}
        tags |= {"sr.resume.changed": "; ".join(map(str, self.changes))}
        tags["sr.resumed_from"] = str(start.checkpoint) if start.parent_folder else ""
        return {name: value for name, value in tags.items() if value}

    def _fit(self, trainer: Trainer, best: Path) -> None:
        """Train the net, and put the weights of the best checkpoint into it."""
        self.data.position = self.starting_point.position
        trainer.fit(
            self.model, datamodule=LightningData(self.data), ckpt_path=self.starting_point.checkpoint, weights_only=True
        )
        best = trainer.strategy.broadcast(best)  # of the main process
        if best.exists():
            restore_weights(self.model.eval_net, best)
            last = {key: value for key, value in self.model.metrics.items() if not key.weights}
            self.model.metrics = last | self.model.best.values

    def _test(self, trainer: Trainer) -> None:
        """Test the net and report means and single values."""
        step = trainer.global_step
        trainer.test(self.model, datamodule=LightningData(self.data), verbose=False)
        values = {key: value for key, value in self.model.metrics.items() if key.stage == "test"}
        bicubic = {key: value for key, value in self.model.bicubic.items() if key.stage == "test"}
        values |= {key._replace(weights="bicubic"): value for key, value in bicubic.items()}
        self.tracker.log_points(name_columns(values, self.data, self.model.metric), step)
        self.tracker.log_text(PER_IMAGE_FILE, image_results_to_json(self._collect_image_results()))

    def _measure_cost(self, trainer: Trainer) -> NetCost:
        with disable_compile(trainer):
            cost = measure_cost(self.model.eval_net, self.config, trainer.strategy.root_device)
        log_cost(cost, self.tracker, trainer.global_step)
        return cost

    def _collect_image_results(self) -> dict[str, ImageResults]:
        """Return the metrics of every tested image by set, `test/Set5`."""
        results = {}
        for index, images in enumerate(self.data.eval_sets["test"]):
            key = SetKey("test", self.data.set_name("test", index))
            values, bicubic = (self.model.per_image[k] for k in (key, key._replace(weights="bicubic")))
            rows = group_by_image(images.names, values, bicubic)
            results[str(key)] = ImageResults(protocol=self.model.metric.name, images=rows)
        return results
