"""One evaluation: each set measured picture by picture, tracked as a run, and set beside what was published."""

import contextlib
import math
import re
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor
from torch.utils.data import BatchSampler, Dataset

from sr.callback.panels import draw_panel
from sr.callback.system_metrics import SystemMetrics
from sr.checkpoint.interpolate import OPTIONS, describe_interpolation, format_label, interpolate_weights
from sr.checkpoint.load import LoadedNet, load_checkpoint, rename_option
from sr.config import schema
from sr.config.build import build_data, build_part, select_device
from sr.data.folder import Folder
from sr.evaluation import predictor, report
from sr.evaluation.published import find_model, recognize_model
from sr.evaluation.reference import InferenceSettings, ProtocolMistakes, Reference
from sr.image.batch import Raw
from sr.image.resize import upscale_bicubic
from sr.inference.memory import FEWER_METRICS, report_out_of_memory
from sr.lifecycle.provenance import fingerprint_data, save_fingerprint
from sr.lifecycle.run_end import close_on_exit, end_run, raise_disk_errors
from sr.lifecycle.run_start import RunStart, create_run_folder, save_text
from sr.metric.key import MetricKey
from sr.metric.score import Score, group_by_image
from sr.model.evaluation import EvaluationOutput
from sr.model.gradient import list_trainable
from sr.record.result import to_json
from sr.runtime import terminal
from sr.runtime.error import UserError
from sr.track.columns import name_columns

AHEAD = 4  # pictures read before they are wanted


class Evaluation:
    """Measures what a config names. `choices` are the groups' names, `typed` the command line."""

    def __init__(self, cfg: DictConfig, choices: dict[str, str], typed: list[str]) -> None:
        self.tracker = build_part(schema.to_plain(cfg.track), "track")
        self.device = select_device(cfg.device, measuring=True)
        loaded = self._load(cfg, "model/net" in choices)
        self.leaks = loaded.leaks if loaded else ()
        self.config = schema.resolve_config(cfg, choices)
        self.begun = RunStart("evaluate", self.config, choices, typed)
        self.data = build_data(self.config)
        self.protocol = build_part(self.config["metric"], "metric")
        self.data.select_channels = self.protocol.select_channels
        self.data.prepare_data()
        self.data.setup("test")
        self.names = [self.data.set_name("test", k) for k in range(len(self.data.eval_sets["test"]))]
        self.fingerprint = fingerprint_data(self.config, self.data, self.protocol)
        self.subject = self._subject(loaded)
        self.model = self._published_name()
        lr = [self.data.describe_lr("test", k) for k in range(len(self.names))]
        conditions = {name: self.protocol.describe(made) for name, made in zip(self.names, lr, strict=True)}
        pictures = dict(zip(self.names, (chosen.names for chosen in self.data.eval_sets["test"]), strict=True))
        way = InferenceSettings(self.config["ensemble"], self.config["tile"])
        self.beside = Reference(self.model, self.config["against"], self.protocol, way, conditions, pictures)
        self.opened = False  # only then the folder is this run's
        self.sets: dict[str, dict[str, Any]] = {}
        self.unfinished: dict[str, dict[str, Any]] = {}  # a set that was broken off

    def run(self) -> None:
        """Measure all sets; whatever was measured is kept, however it ends."""
        what = re.sub(r"\W+", "-", self.subject.name.lower())
        what += "" if self.config["interpolate"] is None else f"-alpha-{self.config['alpha']}"
        title = f"evaluate-{what}_{'-'.join(self.names)}_x{self.config['scale']}"
        self.folder = create_run_folder(self.config["paths"]["runs"], title[:100])
        self.system = SystemMetrics(self.tracker, self.folder, self.tracker.system_interval, lambda: 0)
        with close_on_exit(self._close):
            with raise_disk_errors(self.folder):
                self.begun.open(
                    self.tracker, self.folder, self.protocol.name, predictor.list_tags(self.config), self.device
                )
                self.opened = True
                self.system.start()
                save_fingerprint(self.fingerprint, self.tracker, self.folder)
            cost = {"parameters": self.subject.parameters, "multiply_adds_1280x720": self.subject.multiply_adds}
            self.tracker.log_points({f"cost/{key}": value for key, value in cost.items() if value is not None}, 0)
            for index, name in enumerate(self.names):
                self.sets[name] = self._measured(index, name)
                self._send(name)
                self.tracker.mark_saved(0)  # what was measured is not measured again

    def _load(self, cfg: DictConfig, chosen: bool) -> LoadedNet | None:
        """The checkpoint; what it knows of scale and color is filled into the config."""
        if cfg.color is None and (cfg.checkpoint is None or chosen):
            cfg.color = "y" if cfg.metric.channel == "y8" else "rgb"
        cfg.channels = schema.COLORS[cfg.color] if cfg.color else None
        if cfg.checkpoint is None:
            return None
        net = schema.to_plain(cfg)["model"]["net"] if chosen else None
        loaded = load_checkpoint(self._file(cfg, "checkpoint"), self.device, cfg.trust, cfg.scale, net)
        if cfg.color not in (None, loaded.config["color"]):
            raise UserError(f"color={cfg.color}: checkpoint={cfg.checkpoint} is of color={loaded.config['color']}")
        cfg.scale, cfg.color = loaded.config["scale"], loaded.config["color"]
        if cfg.interpolate is not None:
            other = self._file(cfg, "interpolate")
            loaded = interpolate_weights(loaded, other, cfg.alpha, device=self.device, trust=cfg.trust, net=net)
        return loaded

    def _file(self, cfg: DictConfig, dial: str) -> Path:
        """A checkpoint's file, by its path or as `mlflow:RUN_ID`."""
        typed = str(cfg[dial])
        if not typed.startswith("mlflow:"):
            return Path(typed).expanduser()
        with rename_option(dial, typed):
            return self.tracker.find_checkpoint(typed.removeprefix("mlflow:"))

    def _subject(self, loaded: LoadedNet | None) -> predictor.Predictor:
        c = self.config
        if c["images"] is not None:
            chosen = dict(zip(self.names, (s.names for s in self.data.eval_sets["test"]), strict=True))
            return predictor.ImagePredictor(Path(c["images"]).expanduser(), chosen, self.protocol)
        net = loaded.net if loaded else build_part(c["model"]["net"], "model.net")
        if loaded is None and list_trainable(net):
            name = self.begun.choices["model/net"]
            raise UserError(f"model/net={name} is not trained: give its weights, checkpoint=FILE, or train it: sr.run")
        return predictor.NetPredictor(net, c["scale"], c["color"], self.device, c["ensemble"], c["tile"])

    def _published_name(self) -> str | None:
        if self.config["published"] is not None:
            return find_model(self.config["published"])
        known = self.subject.parameters is not None and self.config["interpolate"] is None
        return recognize_model(self.subject.name, self.subject.parameters) if known else None

    def _measured(self, index: int, name: str) -> dict[str, Any]:
        """Everything there is to say of one set."""
        chosen = self.data.eval_sets["test"][index]
        ours, guess = Score(self.protocol), Score(self.protocol)
        mistakes = ProtocolMistakes(self.protocol)
        self.subject.start_set()
        done = 0
        try:
            for raw, names in self._pictures(chosen, name):
                pair = self.data.on_after_batch_transfer(raw, 0)
                sr = self.subject.predict(pair, names, name, raw.gray)
                if not sr.isfinite().all():
                    raise UserError(f"{name}/{names[0]}: this net gives NaN or infinity; its weights are spoiled")
                small = upscale_bicubic(pair.lr, self.config["scale"])
                with report_out_of_memory(
                    f"{name}/{names[0]}: a picture of {sr.shape[-1]}×{sr.shape[-2]}", FEWER_METRICS
                ):
                    ours.update(sr, pair.hr, pair.lr)
                    guess.update(small, pair.hr, pair.lr)
                if self.beside.find_row(name):
                    mistakes.update(sr, pair.hr)
                self._show(name, names, chosen, EvaluationOutput(pair.lr, sr, pair.hr))
                done += len(names)
        except BaseException:  # Ctrl-C as well: what was measured of this set is kept
            if done:
                per_image = group_by_image(chosen.names[:done], _first(done, ours), _first(done, guess))
                begun = {"unfinished": True, "n": done, **describe_interpolation(self.config)}
                self.unfinished[name] = begun | {"per_image": per_image}
            raise
        result = {"n": len(chosen), **ours.compute(), "protocol": self.beside.conditions[name]}
        result |= describe_interpolation(self.config)
        result["bicubic"] = guess.compute()
        result["per_image"] = group_by_image(chosen.names, ours.per_image(), guess.per_image())
        result |= self.subject.measure_cost()
        leaks = [str(leak) for leak in self.leaks if leak.set == name]
        result |= self.beside.compare(name, result, mistakes) | ({"leaks": leaks} if leaks else {})
        if isinstance(self.data, Folder) and self.data.sets["test"][index] == self.data.name:
            held = f"these are the {len(chosen)} pictures that data={self.data.name} holds out, not the whole folder"
            result["notes"] = [*result.get("notes", []), held]
        return result

    def _pictures(self, chosen: Dataset, name: str) -> Iterator[tuple[Raw, list[str]]]:
        """Batches on the device with their names, read ahead by threads; nothing is kept that was used."""
        chosen.keep = False
        indices = list(BatchSampler(range(len(chosen)), chosen.batch, False))
        with ThreadPoolExecutor(2) as pool, terminal.create_progress_bar(len(chosen), name) as bar:
            waiting: deque[Any] = deque()
            for index in indices[:AHEAD]:
                waiting.append(pool.submit(chosen.__getitem__, index))
            for k, index in enumerate(indices):
                raw = waiting.popleft().result()
                if k + AHEAD < len(indices):
                    waiting.append(pool.submit(chosen.__getitem__, indices[k + AHEAD]))
                yield _on(raw, self.device), [chosen.names[i] for i in index]
                bar.update(len(index))

    def _show(self, name: str, names: list[str], chosen: Dataset, shown: EvaluationOutput) -> None:
        """A panel of the first `track.panels` pictures."""
        for k, picture in enumerate(names):
            if picture in chosen.names[: self.tracker.panels]:
                one = EvaluationOutput(*(image[k : k + 1] for image in shown))
                self.tracker.log_image(f"panels/test/{name}/{picture}", partial(draw_panel, one, self.protocol), 0)

    def _send(self, name: str) -> None:
        found = self.sets[name]
        measures = (*self.protocol.metric_names, "ms_per_image", "peak_memory_mb")
        points = {MetricKey("test", name, key): found[key] for key in measures if key in found}
        points |= {MetricKey("test", name, key, "bicubic"): value for key, value in found["bicubic"].items()}
        known = {key: value for key, value in points.items() if not math.isnan(value)}
        self.tracker.log_points(name_columns(known, self.data, self.protocol), 0)

    def _close(self, status: str, exit: str | None) -> None:
        cost = report.format_cost(self.subject.parameters, self.subject.multiply_adds)
        table = report.format_report(self.sets, self.protocol, cost)
        end_run(self.tracker, self.folder, status, exit, lambda: self._write_down(status, table))
        if self.opened:
            self._tell(status, table)

    def _write_down(self, status: str, table: str) -> None:
        self.system.stop()
        if not self.opened:  # nothing is in the folder that was made for it
            with contextlib.suppress(OSError):
                self.folder.rmdir()
            return
        save_text(self.tracker, self.folder, "evaluate.json", to_json(self.sets | self.unfinished))
        save_text(self.tracker, self.folder, "summary.json", to_json(self._summary(status)))
        if self.sets:
            lines = [f"    {line}" for line in table.splitlines()]
            self.tracker.set_description("\n".join([f"{self._label()}, protocol {self.protocol.name}", "", *lines]))

    def _tell(self, status: str, table: str) -> None:
        print(f"\n{status.lower()}: {self._label()} ×{self.config['scale']}, protocol {self.protocol.name}\n")
        print(f"{table}\n" if self.sets else "", end="")
        for name, part in self.unfinished.items():
            print(f"{name}: broken off; the values of its first {part['n']} pictures are in evaluate.json")
        if self.tracker.run_id:
            print(f"run         {self.tracker.run_id}")
        print(f"folder      {self.folder}")
        if self.tracker.location_line:
            print(self.tracker.location_line)

    def _label(self) -> str:
        """The net's name with all that makes its numbers other ones: IMDN+ is IMDN with self-ensemble."""
        c = self.config
        tile = f" in tiles of {c['tile']}" if c["tile"] else ""
        return f"{self.subject.name}{'+' * bool(c['ensemble'])}{format_label(c)}{tile}"

    def _summary(self, status: str) -> dict[str, Any]:
        s = self.subject
        return {
            "run_id": self.tracker.run_id,
            "status": status,
            "protocol": {name: found["protocol"] for name, found in self.sets.items()},
            "net": self._label(),
            "published": self.model,
            "scale": self.config["scale"],
            "parameters": s.parameters,
            "multiply_adds_1280x720": s.multiply_adds,
            **{key: self.config[key] for key in OPTIONS},
            "images": self.config["images"],
        }


def _first(count: int, score: Score) -> dict[str, list[float]]:
    return {name: values[:count] for name, values in score.per_image().items()}


def _on(raw: Raw, device: torch.device) -> Raw:
    return raw._replace(hr=raw.hr.to(device), lr=raw.lr.to(device) if isinstance(raw.lr, Tensor) else None)
