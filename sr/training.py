"""One run: data checked, run opened, net trained, best checkpoint tested, everything written down, however it ends."""

import contextlib
import getpass
import json
import logging
import math
import shutil
import signal
import sys
import threading
import time
import warnings
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from pytorch_lightning import Callback, seed_everything

from sr import build, checkpoint, terminal
from sr.error import UserError
from sr.model.module import trainable
from sr.track import provenance
from sr.track.panel import Panels
from sr.track.record import Record


class Clock(Callback):
    """Seconds of training, without those of validation."""

    def __init__(self) -> None:
        self.seconds, self._since = 0.0, 0.0

    def on_train_start(self, *_: object) -> None:
        self._since = time.perf_counter()

    def on_validation_start(self, *_: object) -> None:
        if self._since:  # not before training, when the untrained net is measured
            self.seconds += time.perf_counter() - self._since

    def on_validation_end(self, *_: object) -> None:
        self._since = time.perf_counter() if self._since else 0.0

    def on_train_end(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._since
        self._since = 0.0

    def on_exception(self, *_: object) -> None:
        if self._since:
            self.on_train_end()


class Training:
    """Runs the stages of a resolved config. `choices` are the groups' names, `overrides` what was typed."""

    def __init__(self, config: dict[str, Any], choices: dict[str, str], overrides: list[str]) -> None:
        self.config, self.choices, self.overrides = config, choices, overrides
        self.started = time.perf_counter()
        quiet()
        seed_everything(config["seed"], workers=True, verbose=False)
        self.data, self.model = build.data(config), build.model(config)
        self.track = build.part(config["track"], "track")
        self.stages = self._stages()

    def go(self) -> float | None:
        """Do all stages; returns the best watched value, or the first tested PSNR when nothing was trained."""
        self._check_data()
        self.folder = self._make_folder()
        self.clock = Clock()
        self.best = checkpoint.Checkpoints(self.folder, self.config["watch"], self.config)
        callbacks = [self.best, self.clock, terminal.Bar(), Record(self.track)]
        callbacks += [Panels(self.track)] if self.track.panels else []
        self.trainer = build.trainer(self.config, callbacks, self.track, not self.model.automatic_optimization)
        status = "FAILED"
        try:
            self._open()
            with _sigterm_as_interrupt():
                self._do_stages()
            status = "FINISHED"
        except (KeyboardInterrupt, SystemExit):  # Lightning turns Ctrl-C into an exit
            status = "KILLED"
            raise KeyboardInterrupt from None
        finally:
            with _deaf():
                self._close(status)
        return self.model.best.get(self.best.key, next(iter(self.model.metrics.values()), None))

    def _stages(self) -> list[str]:
        stages = list(self.config["stages"])
        if "fit" in stages and not trainable(self.model.net):
            print(f"model/net={self.choices.get('model/net')} has nothing to learn: it is only tested")
            stages.remove("fit")
        if stages == ["test"] and trainable(self.model.net):
            raise UserError(
                f"stages=[test]: model/net={self.choices.get('model/net')} is not trained yet; add fit, or model/net=bicubic"
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
            self.model.rehearse(self.data.example())
        if "test" in self.stages:
            self.data.setup("test")

    def _make_folder(self) -> Path:
        c = self.choices
        net = f"{c['model']}-{c['model/net']}_{c['data']}_x{self.config['scale']}"
        title = c["experiment"] if c.get("experiment") else net
        stem = Path(self.config["paths"]["runs"]).resolve() / f"{datetime.now():%Y%m%d-%H%M%S}_{title}"
        for attempt in range(1000):
            folder = stem if not attempt else stem.with_name(f"{stem.name}-{attempt + 1}")
            try:
                folder.mkdir(parents=True)
                return folder
            except FileExistsError as error:
                if not folder.is_dir():
                    raise _unwritable(self.config, error) from None
            except OSError as error:
                raise _unwritable(self.config, error) from None
        raise UserError(f"paths.runs={self.config['paths']['runs']}: a thousand runs of this second are there already")

    def _open(self) -> None:
        c, config = self.choices, self.config
        tags = {f"sr.{key}": c[choice] for key, choice in _CHOICES.items() if c.get(choice)}
        tags |= {f"sr.{key}": str(config[key]) for key in ("scale", "color", "seed")}
        tags |= {"sr.protocol": self.model.metric.name, "mlflow.source.name": "sr.run", "mlflow.source.type": "LOCAL"}
        git = provenance.git()
        if git:
            tags |= {"mlflow.source.git.commit": git["sha"], "mlflow.source.git.branch": git["branch"]}
            tags["sr.git.dirty"] = git["dirty"]
        with contextlib.suppress(OSError, KeyError):  # a container may have no name for its user
            tags["mlflow.user"] = getpass.getuser()
        title = f"{self.folder.name.partition('_')[2]} s{config['seed']} {datetime.now():%H%M}"
        self.track.start(title, self.folder, config, self.overrides, tags)
        for name, text in provenance.texts(config, self.overrides).items():
            if text:
                self.track.text(name, text)
        self.track.text("protocol.json", _json(self.model.metric.describe()))

    def _do_stages(self) -> None:
        if "fit" in self.stages:
            self.trainer.fit(self.model, datamodule=self.data)
            if self.best.best.exists():  # what is tested is what is kept
                checkpoint.restore(self.model.net, self.best.best)
                self.model.metrics |= {name: v for name, v in self.model.best.items() if name != "step"}
        if "test" in self.stages:
            step = self.trainer.global_step
            self.trainer.test(self.model, datamodule=self.data, verbose=False)
            tested = {k: v for k, v in self.model.metrics.items() if k.startswith("test/")}
            guessed = {f"{k}_bicubic": v for k, v in self.model.bicubic.items() if k.startswith("test/")}
            self.track.points(tested | guessed, step)
            self.track.text("per_image.json", _json(self._per_image()))

    def _per_image(self) -> dict[str, Any]:
        """`{"test/Set5": {"protocol": …, "images": {"baby": {"psnr": …, "ssim": …, "bicubic_psnr": …}}}}`."""
        result: dict[str, Any] = {}
        for index, chosen in enumerate(self.data.eval_sets["test"]):
            key = f"test/{self.data.set_name('test', index)}"
            ours, guess = self.model.per_image[key], self.model.per_image[f"bicubic/{key}"]
            columns = {**ours, **{f"bicubic_{name}": values for name, values in guess.items()}}
            rows = zip(*columns.values(), strict=True)
            images = {name: dict(zip(columns, row, strict=True)) for name, row in zip(chosen.names, rows, strict=True)}
            result[key] = {"protocol": self.model.metric.name, "images": images}
        return result

    def _close(self, status: str) -> None:
        summary = self._summary(status)
        self.track.text("summary.json", _json(summary))
        if self.model.metrics:
            self.track.tag("mlflow.note.content", self._note())
        self.track.end(status)
        if not (self.folder / "summary.json").exists():  # track=none keeps no texts
            (self.folder / "summary.json").write_text(_json(summary), encoding="utf-8")
        self._report(status)

    def _summary(self, status: str) -> dict[str, Any]:
        steps, seconds = self.trainer.global_step, self.clock.seconds
        best = {f"best/{name}": value for name, value in self.model.best.items()}
        return {
            "run_id": self.track.run_id,
            "status": status,
            "steps": steps,
            "steps_per_second": round(steps / seconds, 3) if seconds else None,
            "seconds": round(time.perf_counter() - self.started, 1),
            "train_seconds": round(seconds, 1),
            "protocol": self.model.metric.describe(),
            "metrics": self.model.metrics | best,
            "bicubic": self.model.bicubic,
            "checkpoint": str(kept[0]) if (kept := self.best.kept()) else None,
        }

    def _note(self) -> str:
        """The run's description in MLflow."""
        lines = [f"    {line}" for line in terminal.table(self.model.metrics, self.model.bicubic).splitlines()]
        return "\n".join([f"Protocol {self.model.metric.name}, folder `{self.folder}`", "", *lines])

    def _report(self, status: str) -> None:
        print(f"\n{status.lower()}: {self.trainer.global_step} steps, protocol {self.model.metric.name}")
        if self.model.metrics:
            print("\n" + terminal.table(self.model.metrics, self.model.bicubic) + "\n")
        kept = self.best.kept()
        if self.track.run_id:
            print(f"run         {self.track.run_id}")
        print(f"folder      {self.folder}")
        if kept:
            print(f"checkpoint  {kept[0]}")
        if self.track.where:
            print(f"MLflow      {self.track.where}")
        if kept or self.track.page:
            print("\nnext:")
        if kept:
            print(f"  {_python()} -m sr.predict checkpoint={_short(kept[0])} input=YOUR.png output=enlarged")
        if self.track.page:
            print(f"  {self.track.page if self.track.page.startswith('http') else f'{_python()} -m {self.track.page}'}")


_CHOICES = {"model": "model", "net": "model/net", "data": "data", "experiment": "experiment"}


def _python() -> str:
    """What to type for this very Python: `python` alone only where its environment is active."""
    found = shutil.which("python")
    return "python" if found and Path(found).parent == Path(sys.executable).parent else _short(Path(sys.executable))


def _short(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _unwritable(config: dict[str, Any], error: OSError) -> UserError:
    return UserError(
        f"paths.runs={config['paths']['runs']}: cannot make a folder for this run ({error.strerror or error})"
    )


def quiet() -> None:
    """Lightning's hints that do not hold here."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    for text in (
        ".*does not have many workers.*",
        ".*GPU available but not used.*",
        ".*isinstance.treespec, LeafSpec.*",
    ):
        warnings.filterwarnings("ignore", text)


@contextlib.contextmanager
def _deaf() -> Any:
    """Another Ctrl-C must not interrupt the writing down of the first."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _json(node: Any) -> str:
    """JSON knows no infinity: such a value becomes the word inf, -inf or nan."""

    def plain(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: plain(part) for key, part in node.items()}
        return str(node) if isinstance(node, float) and not math.isfinite(node) else node

    return json.dumps(plain(node), indent=2, ensure_ascii=False)


@contextlib.contextmanager
def _sigterm_as_interrupt() -> Any:
    """A polite kill ends like Ctrl-C: saved, tested for nothing, marked KILLED."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt), signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])
