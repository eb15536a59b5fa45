"""One run: data checked, run opened, net trained, best checkpoint tested, everything written down, however it ends."""

import os
import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from pytorch_lightning import seed_everything
from pytorch_lightning.utilities import rank_zero_only

from sr import build, checkpoint, terminal, weights
from sr.data.fingerprint import Print
from sr.data.leaks import Leak
from sr.data.patches import START, Seen
from sr.error import UserError
from sr.metric.score import by_picture
from sr.model.module import trainable
from sr.track import provenance
from sr.track.alarms import Alarms
from sr.track.ending import Listening, closing
from sr.track.evidence import Evidence
from sr.track.life import Begun, as_json, keep, make_folder
from sr.track.none import Nothing
from sr.track.pace import Clock, Pace
from sr.track.panel import Panels
from sr.track.record import Record, in_columns
from sr.track.sheet import Sheet
from sr.track.system import Sampler

TAG_LENGTH = 4000  # characters of a tag that every MLflow takes
LEAKS_SHOWN = 3  # of each set


class Training:
    """Runs the stages of a resolved config. `choices` are the groups' names, `overrides` what was typed."""

    def __init__(self, config: dict[str, Any], choices: dict[str, str], overrides: list[str]) -> None:
        self.config, self.choices = config, choices
        self.begun = Begun("run", config, choices, overrides)
        self.started = time.perf_counter()
        self.first = rank_zero_only.rank == 0  # of several processes, the one that tracks, writes and speaks
        if not self.first:
            sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - as long as the process lives
        terminal.quiet()
        seed_everything(config["seed"], workers=True, verbose=False)
        self.data, self.model = build.data(config), build.model(config)
        self.data.view = self.model.metric.view
        self.protocol = self.model.metric.describe(str(self.data.degrade))
        self.track = build.part(config["track"], "track") if self.first else Nothing()
        self.resume = _resumable(config)
        if self.model.init is not None and self.resume is None:
            checkpoint.begin(self.model, Path(self.model.init).expanduser())
        self.stages = self._stages()
        self.leaks: list[Leak] = []
        self.fingerprint: list[Print] = []

    def go(self) -> float | None:
        """Do all stages; returns the best watched value, or the first tested PSNR when nothing was trained."""
        self._check_data()
        self.folder = self._folder()
        self.clock = Clock()
        inherited = Path(self.resume).with_name("best.ckpt") if self.resume else None
        self.best = checkpoint.Checkpoints(
            self.folder, self.config["watch"], self.config, self.config["patience"], inherited
        )
        self.best.leaks = [list(leak) for leak in self.leaks]
        callbacks = [Listening(), self.best, self.clock, Pace(self.track, self.clock), Record(self.track)]
        callbacks += [terminal.Bar()] if self.first else []
        callbacks += [Panels(self.track)] if self.track.panels else []
        callbacks += [Sheet(self.track)] if self.track.panels else []
        self.alarms = Alarms(self.track, self.model.alarm)
        callbacks += [self.alarms, Evidence(self.folder)]
        self.trainer = build.trainer(self.config, callbacks, self.track, not self.model.automatic_optimization)
        self.system = Sampler(self.track, self.folder, self.track.system_every, lambda: self.trainer.global_step)
        with closing(self._close):
            self._open()
            self._do_stages()
        return self.model.best.get(self.best.key, next(iter(self.model.metrics.values()), None))

    def _folder(self) -> Path:
        """Of the first process; the others write nothing."""
        return make_folder(self.config["paths"]["runs"], self._title()) if self.first else Path(os.devnull)

    def _stages(self) -> list[str]:
        stages = list(self.config["stages"])
        if "fit" in stages and not trainable(self.model.net):
            print(f"model/net={self.choices.get('model/net')} has nothing to learn: it is only tested")
            stages.remove("fit")
        if stages == ["test"] and trainable(self.model.net):
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
            self.model.rehearse(self.data.example())
            self.leaks = self.data.leaks()
            if self.first:
                self._warn_of_leaks()
        if "test" in self.stages:
            self.data.setup("test")
        if self.first:
            self.fingerprint = provenance.fingerprint(self.config, self.data, self.model.metric)

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
        leaks = {"sr.leak": "; ".join(map(str, self.leaks))[:TAG_LENGTH]} if self.leaks else {}
        device = self.trainer.strategy.root_device
        self.begun.open(self.track, self.folder, self.model.metric.name, leaks, device)
        self.system.start()
        provenance.keep_fingerprint(self.fingerprint, self.track, self.folder)
        self.track.text("protocol.json", as_json(self.protocol))

    def _do_stages(self) -> None:
        if "fit" in self.stages:
            self.data.seen = self._seen()
            self.trainer.fit(self.model, datamodule=self.data, ckpt_path=self.resume, weights_only=True)
            best = self.trainer.strategy.broadcast(self.best.best)
            if best.exists():  # what is tested is what is kept
                checkpoint.restore(self.model.final, best)
                last = {name: v for name, v in self.model.metrics.items() if not name.endswith("_raw")}
                self.model.metrics = last | {name: v for name, v in self.model.best.items() if name != "step"}
        if "test" in self.stages:
            step = self.trainer.global_step
            self.trainer.test(self.model, datamodule=self.data, verbose=False)
            tested = {k: v for k, v in self.model.metrics.items() if k.startswith("test/")}
            guessed = {f"{k}_bicubic": v for k, v in self.model.bicubic.items() if k.startswith("test/")}
            self.track.points(in_columns(tested | guessed, self.data, self.model.metric), step)
            self.track.text("per_image.json", as_json(self._per_image()))

    def _seen(self) -> Seen:
        if self.resume is None:
            return START
        content = weights.read(Path(self.resume))
        return Seen(content["epoch"], content["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["completed"])

    def _per_image(self) -> dict[str, Any]:
        """`{"test/Set5": {"protocol": …, "images": {"baby": {"psnr": …, "ssim": …, "bicubic_psnr": …}}}}`."""
        result: dict[str, Any] = {}
        for index, chosen in enumerate(self.data.eval_sets["test"]):
            key = f"test/{self.data.set_name('test', index)}"
            images = by_picture(chosen.names, self.model.per_image[key], self.model.per_image[f"bicubic/{key}"])
            result[key] = {"protocol": self.model.metric.name, "images": images}
        return result

    def _close(self, status: str, exit: str | None) -> None:
        if not self.first:
            return
        self.system.stop()
        summary = self._summary(status)
        keep(self.track, self.folder, "summary.json", as_json(summary))
        if self.model.metrics:
            self.track.tag("mlflow.note.content", self._note())
        self.track.end(status, exit)
        self._report(status)

    def _summary(self, status: str) -> dict[str, Any]:
        steps, seconds = self.trainer.global_step, self.clock.seconds
        best = {f"best/{name}": value for name, value in self.model.best.items()}
        if self.best.best_also:
            best |= {f"{self.best.best_also.stem}/{name}": value for name, value in self.best.second.items()}
        return {
            "run_id": self.track.run_id,
            "status": status,
            "steps": steps,
            "skipped": self.model.guard.skipped,
            "returned": self.model.guard.returned,
            "steps_per_second": round(steps / seconds, 3) if seconds else None,
            "seconds": round(time.perf_counter() - self.started, 1),
            "train_seconds": round(seconds, 1),
            "energy_wh": {kind: round(wh, 4) for kind, wh in self.system.wh.items()},
            "protocol": self.protocol,
            "leaks": [str(leak) for leak in self.leaks],
            "alarms": self.alarms.told,
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
        if self.best.second and self.best.best_also:
            best = {self.best.best.name: self.model.best, self.best.best_also.name: self.best.second}
            print(terminal.both_best(best, (self.best.key, self.best.also)) + "\n")
        for name in self.alarms.told:
            print(f"ALARM       {name}: {'; '.join(self.alarms.told[name])}")
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
        if status != "FINISHED" and kept:
            words = [word for word in self.begun.typed if not word.startswith("resume=")]
            print(f"  {_python()} -m sr.run {shlex.join([*words, f'resume={_short(self.folder)}'])}")
        if kept:
            print(f"  {_python()} -m sr.predict checkpoint={_short(kept[0])} input=YOUR.png output=enlarged")
            print(f"  {_python()} -m sr.evaluate checkpoint={_short(kept[0])} data.test=[Set5,Set14]")
        if self.track.page:
            print(f"  {self.track.page if self.track.page.startswith('http') else f'{_python()} -m {self.track.page}'}")


def _resumable(config: dict[str, Any]) -> str | None:
    """The checkpoint that `resume` means, which must be of this very model."""
    resume, steps = config["resume"], config["trainer"]["max_steps"]
    if resume is None:
        return None
    path = Path(resume).expanduser()
    path = path / "last.ckpt" if path.is_dir() else path
    if not path.is_file():
        raise UserError(f"resume={resume}: expected a run's folder with a last.ckpt in it, or a checkpoint")
    content = weights.read(path)
    if checkpoint.KEY not in content:
        raise UserError(f"resume={resume}: {path.name} holds weights only, or was not written by sr.run")
    there, here = (_flat(c["model"], "model") for c in (content[checkpoint.KEY]["config"], config))
    parts = {key.rpartition(".")[0] for key in there}  # a new dial of an old part is newer than the run
    keys = [k for k in {**there, **here} if _lasts(k) and (k in there or k.rpartition(".")[0] not in parts)]
    changed = [f"{k}={here.get(k)} (there {there.get(k)})" for k in keys if there.get(k) != here.get(k)]
    if changed:
        raise UserError(f"resume={resume}: was trained with other dials, say the same: {', '.join(changed)}")
    if content["global_step"] >= steps > 0:
        raise UserError(
            f"resume={resume}: is at step {content['global_step']} already; set trainer.max_steps above that"
        )
    return str(path)


def _lasts(key: str) -> bool:
    """Whether a dial of the model must stay as it was: where the weights began is long ago, and alarms only tell."""
    return key != "model.init" and not key.startswith("model.alarm")


def _flat(node: Any, key: str) -> dict[str, Any]:
    """`{"model.net.width": 32, …}`."""
    if not isinstance(node, dict):
        return {key: node}
    return {name: value for k, part in node.items() for name, value in _flat(part, f"{key}.{k}").items()}


def _python() -> str:
    """What to type for this very Python: `python` alone only where its environment is active."""
    found = shutil.which("python")
    return "python" if found and Path(found).parent == Path(sys.executable).parent else _short(Path(sys.executable))


def _short(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
