"""One evaluation: each set measured picture by picture, tracked as a run, and set beside what was published."""

import json
import math
import statistics
from collections import defaultdict, deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor
from torch.utils.data import BatchSampler, Dataset

from sr import build, checkpoint, published, report, schema, subject, terminal
from sr.degrade.resize import bicubic
from sr.error import UserError
from sr.metric import traps
from sr.metric.protocol import need_same
from sr.metric.score import Score
from sr.model.module import Shown, trainable
from sr.pair import Raw
from sr.track.life import Begun, as_json, closing, keep, make_folder
from sr.track.panel import panel
from sr.track.record import in_columns

AHEAD = 4  # pictures read before they are wanted


class Evaluation:
    """Measures what a config names. `choices` are the groups' names, `typed` the command line."""

    def __init__(self, cfg: DictConfig, choices: dict[str, str], typed: list[str]) -> None:
        self.track = build.part(schema.plain(cfg.track), "track")
        self.device = build.device(cfg.device, measuring=True)
        loaded = self._load(cfg, "model/net" in choices)
        self.leaks = loaded.leaks if loaded else ()
        self.config = schema.complete(cfg, choices)
        self.begun = Begun("evaluate", self.config, choices, typed)
        self.data = build.data(self.config)
        self.protocol = build.part(self.config["metric"], "metric")
        self.data.view = self.protocol.view
        self.data.prepare_data()
        self.data.setup("test")
        self.names = [self.data.set_name("test", k) for k in range(len(self.data.eval_sets["test"]))]
        self.subject = self._subject(loaded)
        self.model = self._published_name()
        self.against = self._against()
        self.sets: dict[str, dict[str, Any]] = {}

    def go(self) -> None:
        """Measure all sets; whatever was measured is kept, however it ends."""
        title = f"evaluate-{self.subject.name.lower()}_{'-'.join(self.names)}_x{self.config['scale']}"
        self.folder = make_folder(self.config["paths"]["runs"], title[:100])
        with closing(self._close):
            self.begun.open(self.track, self.folder, self.protocol.name, subject.tags(self.config))
            cost = {"parameters": self.subject.parameters, "multiply_adds_1280x720": self.subject.multiply_adds}
            self.track.points({f"cost/{key}": value for key, value in cost.items() if value is not None}, 0)
            for index, name in enumerate(self.names):
                self.sets[name] = self._measured(index, name)
                self._send(name)

    def _load(self, cfg: DictConfig, chosen: bool) -> checkpoint.Loaded | None:
        """The checkpoint; what it knows of scale and color is filled into the config."""
        if cfg.color is None and (cfg.checkpoint is None or chosen):
            cfg.color = "y" if cfg.metric.channel == "y8" else "rgb"
        cfg.channels = schema.COLORS[cfg.color] if cfg.color else None
        if cfg.checkpoint is None:
            return None
        net = schema.plain(cfg)["model"]["net"] if chosen else None
        path = self.track.checkpoint_of(cfg.checkpoint.removeprefix("mlflow:")) if _tracked(cfg) else cfg.checkpoint
        loaded = checkpoint.load(Path(path).expanduser(), self.device, cfg.trust, cfg.scale, net)
        if cfg.color not in (None, loaded.config["color"]):
            raise UserError(f"color={cfg.color}: checkpoint={cfg.checkpoint} is of color={loaded.config['color']}")
        cfg.scale, cfg.color = loaded.config["scale"], loaded.config["color"]
        return loaded

    def _subject(self, loaded: checkpoint.Loaded | None) -> subject.Subject:
        c = self.config
        if c["images"] is not None:
            chosen = dict(zip(self.names, (s.names for s in self.data.eval_sets["test"]), strict=True))
            return subject.Images(Path(c["images"]).expanduser(), chosen, self.protocol)
        net = loaded.net if loaded else build.part(c["model"]["net"], "model.net")
        if loaded is None and trainable(net):
            name = self.begun.choices["model/net"]
            raise UserError(f"model/net={name} is not trained: give its weights, checkpoint=FILE, or train it: sr.run")
        return subject.Net(net, c["scale"], c["color"], self.device, c["ensemble"], c["tile"])

    def _published_name(self) -> str | None:
        if self.config["published"] is not None:
            return published.named(self.config["published"])
        known = self.subject.parameters is not None and not self.config["ensemble"]
        return published.recognise(self.subject.name, self.subject.parameters) if known else None

    def _against(self) -> dict[str, Any]:
        """The other evaluation's sets; refused before anything is computed when its protocol is another."""
        file = self.config["against"]
        if file is None:
            return {}
        try:
            theirs = json.loads(Path(file).expanduser().read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"against={file}: expected an evaluate.json ({error})") from None
        both = [name for name in self.names if name in theirs]
        if not both:
            raise UserError(f"against={file} has none of {', '.join(self.names)}; it has {', '.join(theirs)}")
        for name in both:
            need_same(self._conditions(name), theirs[name]["protocol"], f"against={file}: {name}")
        return {name: theirs[name] for name in both}

    def _conditions(self, name: str) -> dict[str, str | int]:
        return self.protocol.describe(self.data.lr_from("test", self.names.index(name)))

    def _measured(self, index: int, name: str) -> dict[str, Any]:
        """Everything there is to say of one set."""
        chosen = self.data.eval_sets["test"][index]
        usual = self.data.lr_from("test", index) == self.protocol.usual_lr
        row = published.find(self.model, self.config["scale"], name, self.protocol.name) if usual else None
        ours, guess = Score(self.protocol), Score(self.protocol)
        mistakes: dict[str, list[float]] = defaultdict(list)
        self.subject.begin()
        for raw, names in self._pictures(chosen, name):
            pair = self.data.on_after_batch_transfer(raw, 0)
            sr = self.subject.result(pair, names, name, raw.gray)
            small = bicubic(pair.lr, self.config["scale"])
            ours.update(sr, pair.hr, pair.lr)
            guess.update(small, pair.hr, pair.lr)
            if row and pair.hr.shape[1] == 3:
                for cause, values in traps.alternatives(sr, pair.hr, self.protocol.scale).items():
                    mistakes[cause] += values.tolist()
            self._show(name, names, chosen, Shown(pair.lr, sr, pair.hr))
        result = {"n": len(chosen), **ours.compute(), "protocol": self._conditions(name)}
        result["bicubic"] = guess.compute()
        result["per_image"] = _per_image(chosen.names, ours.per_image(), guess.per_image())
        result |= self.subject.spent()
        return result | self._beside(name, result, row, mistakes)

    def _beside(
        self, name: str, ours: dict[str, Any], row: published.Row | None, mistakes: dict[str, list[float]]
    ) -> dict[str, Any]:
        """The published row and the other evaluation, each with its difference."""
        more: dict[str, Any] = {}
        if row:
            gap = ours["psnr"] - row.psnr
            means = {cause: statistics.fmean(values) for cause, values in mistakes.items()}
            cause = published.cause(gap, name, means, row.psnr)
            more["published"] = {**row._asdict(), "delta_psnr": gap, "delta_ssim": ours["ssim"] - row.ssim}
            more["published"] |= {"likely_cause": cause} if cause else {}
        if name in self.against:
            there = self.against[name]
            more["against"] = {key: there[key] for key in ("psnr", "ssim")}
        elif self.model and (
            others := published.other_protocols(self.model, self.config["scale"], name, self.protocol.name)
        ):
            more["notes"] = [
                f"{self.model}'s published figures are of metric={' and '.join(others)}, and cannot stand here"
            ]
        leaks = [leak for leak in self.leaks if f" {name}/" in leak]
        return more | ({"leaks": leaks} if leaks else {})

    def _pictures(self, chosen: Dataset, name: str) -> Iterator[tuple[Raw, list[str]]]:
        """Batches on the device with their names, read ahead by threads; nothing is kept that was used."""
        chosen.keep = False
        indices = list(BatchSampler(range(len(chosen)), chosen.batch, False))
        with ThreadPoolExecutor(2) as pool, terminal.progress(len(chosen), name) as bar:
            waiting: deque[Any] = deque()
            for index in indices[:AHEAD]:
                waiting.append(pool.submit(chosen.__getitem__, index))
            for k, index in enumerate(indices):
                raw = waiting.popleft().result()
                if k + AHEAD < len(indices):
                    waiting.append(pool.submit(chosen.__getitem__, indices[k + AHEAD]))
                yield _on(raw, self.device), [chosen.names[i] for i in index]
                bar.update(len(index))

    def _show(self, name: str, names: list[str], chosen: Dataset, shown: Shown) -> None:
        """A panel of the first `track.panels` pictures."""
        for k, picture in enumerate(names):
            if picture in chosen.names[: self.track.panels]:
                one = Shown(*(image[k : k + 1] for image in shown))
                self.track.image(f"panels/test/{name}/{picture}", panel(one, self.protocol), 0)

    def _send(self, name: str) -> None:
        found = self.sets[name]
        points = {f"test/{name}/{key}": found[key] for key in self.protocol.measures}
        points |= {f"test/{name}/{key}_bicubic": value for key, value in found["bicubic"].items()}
        points |= {f"test/{name}/{key}": found[key] for key in ("ms_per_image", "peak_memory_mb") if key in found}
        known = {key: value for key, value in points.items() if not math.isnan(value)}
        self.track.points(in_columns(known, self.data, self.protocol), 0)

    def _close(self, status: str) -> None:
        keep(self.track, self.folder, "evaluate.json", as_json(self.sets))
        keep(self.track, self.folder, "summary.json", as_json(self._summary(status)))
        cost = report.cost_line(self.subject.parameters, self.subject.multiply_adds)
        table = report.report(self.sets, self.protocol, cost)
        if self.sets:
            self.track.tag("mlflow.note.content", "\n".join(f"    {line}" for line in table.splitlines()))
        self.track.end(status)
        print(
            f"\n{status.lower()}: {self.subject.name} ×{self.config['scale']}, protocol {self.protocol.name}\n\n{table}\n"
        )
        if self.track.run_id:
            print(f"run         {self.track.run_id}")
        print(f"folder      {self.folder}")
        if self.track.where:
            print(f"MLflow      {self.track.where}")

    def _summary(self, status: str) -> dict[str, Any]:
        s = self.subject
        return {
            "run_id": self.track.run_id,
            "status": status,
            "net": s.name,
            "published": self.model,
            "scale": self.config["scale"],
            "parameters": s.parameters,
            "multiply_adds_1280x720": s.multiply_adds,
            "checkpoint": self.config["checkpoint"],
            "images": self.config["images"],
        }


def _tracked(cfg: DictConfig) -> bool:
    return str(cfg.checkpoint).startswith("mlflow:")


def _on(raw: Raw, device: torch.device) -> Raw:
    return raw._replace(hr=raw.hr.to(device), lr=raw.lr.to(device) if isinstance(raw.lr, Tensor) else None)


def _per_image(
    names: list[str], ours: dict[str, list[float]], guess: dict[str, list[float]]
) -> dict[str, dict[str, float]]:
    """`{"baby": {"psnr": …, "ssim": …, "bicubic_psnr": …}}`."""
    columns = {**ours, **{f"bicubic_{name}": values for name, values in guess.items()}}
    return {name: dict(zip(columns, row, strict=True)) for name, *row in zip(names, *columns.values(), strict=True)}
