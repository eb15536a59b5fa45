"""`track=mlflow`: a Lightning logger on `MlflowClient`.

The training thread only puts things into a queue; a thread writes them in batches. A tracker that fails once training
runs is told of in one line; its points are sent again, and what it never took is left in the run's folder: points in
`unsent.json`, pictures in `panels`, texts where they are.
"""

import contextlib
import json
import logging
import math
import os
import queue
import re
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from filelock import FileLock
from PIL.Image import Image

from sr.error import UserError
from sr.track.none import Nothing

BATCH, PARAM_BATCH, PARAM_LENGTH = 1000, 100, 6000  # MLflow's limits of one call
PAUSE = 5.0  # seconds between two writes
RETRY = 15.0  # seconds after a failed one


class MLflow(Nothing):
    """One run. `uri` defaults to an absolute sqlite file, `mlflow.db` in `runs`; `group` ties runs together by tag;
    `params` is `short` or `all`."""

    def __init__(
        self,
        uri: str | None,
        runs: str,
        experiment: str,
        group: str | None = None,
        panels: int = 4,
        params: Literal["short", "all"] = "short",
        system_every: float | None = None,
    ) -> None:
        super().__init__(panels, system_every)
        if params not in ("short", "all"):
            raise UserError(f"track.params={params}: expected short or all")
        self.params = params
        self.runs = Path(runs).resolve()
        self.uri = uri or f"sqlite:///{self.runs / 'mlflow.db'}"
        self.experiment, self.group = experiment, group
        self.where = self.uri.removeprefix("sqlite:///")
        self._queue: queue.Queue[Callable[[], None]] = queue.Queue()
        self._stop = threading.Event()
        self._pending: list[Any] = []  # points not yet taken by the tracker
        self._next_try, self._told = 0.0, False
        self._thread: threading.Thread | None = None

    @property
    def name(self) -> str:
        return self.experiment

    def start(self, title: str, folder: Path, config: dict[str, Any], typed: list[str], tags: dict[str, str]) -> None:
        """Open the run, with its dials as parameters. Fails clearly when the tracker is not there."""
        self._folder = folder
        try:
            self._client, experiment_id = self._connect()
            group = {"sr.group": self.group} if self.group else {}
            run = self._client.create_run(experiment_id, run_name=title, tags={**tags, **group})
            self.run_id = run.info.run_id
            self.page = self._page(experiment_id)
            flat = _flat(config)
            self._log_params(flat if self.params == "all" else _short(flat, typed))
        except Exception as error:  # whatever MLflow raises: sqlalchemy's, requests', its own
            if self.run_id:
                with contextlib.suppress(Exception):
                    self._client.set_terminated(self.run_id, "FAILED")
            reason = str(error).splitlines()[0]
            raise UserError(
                f"track.uri={self.uri}: MLflow cannot be used ({reason}). track=none runs without it"
            ) from error
        self._thread = threading.Thread(target=self._write_until_stopped, name="mlflow", daemon=True)
        self._thread.start()

    def points(self, values: dict[str, Any], step: int) -> None:
        self._queue.put(partial(self._read_points, values, step, int(time.time() * 1000)))

    def image(self, key: str, image: Image, step: int) -> None:
        self._queue.put(partial(self._send_image, key, image, step))

    def file(self, path: Path, folder: str = "") -> None:
        self._queue.put(lambda: self._client.log_artifact(self.run_id, str(path), folder or None))

    def text(self, name: str, text: str) -> None:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        self.file(path, str(Path(name).parent).removeprefix("."))

    def tag(self, key: str, value: str) -> None:
        self._queue.put(lambda: self._client.set_tag(self.run_id, key, value))

    def checkpoint_of(self, run_id: str) -> str:
        """Where the run's summary says that its best checkpoint is."""
        what = f"checkpoint=mlflow:{run_id}"
        try:
            client, _ = self._connect()
            with tempfile.TemporaryDirectory() as folder:
                file = client.download_artifacts(run_id, "summary.json", folder)
                path = json.loads(Path(file).read_text(encoding="utf-8"))["checkpoint"]
        except Exception as error:  # whatever MLflow raises
            reason = str(error).splitlines()[0]
            raise UserError(f"{what}: no finished run of that id at {self.where} ({reason})") from error
        if path is None or not Path(path).exists():
            raise UserError(f"{what}: its checkpoint is not on this machine ({path})")
        return path

    def end(self, status: str) -> None:
        """Write what is left and set the status; what cannot be written now is left in the run's folder."""
        if self._thread is None:
            return
        self._stop.set()
        self._thread.join()
        self._thread = None
        self._next_try = 0.0
        self._flush()
        if self._pending:
            unsent = self._folder / "unsent.json"
            unsent.write_text(json.dumps([dict(metric) for metric in self._pending]))
            print(f"MLflow did not take {len(self._pending)} points; they are in {unsent}", file=sys.stderr)
        try:
            self._client.set_terminated(self.run_id, status)
        except Exception as error:
            self._tell(error)

    def _page(self, experiment_id: str) -> str:
        """The charts of all runs; without the two words in its address MLflow opens pages about language models."""
        served = self.uri.startswith("http")
        charts = f"#/experiments/{experiment_id}/runs?workflowType=machine_learning&compareRunsMode=CHART"
        start = "" if served else f"mlflow ui --host 127.0.0.1 --backend-store-uri {self.uri}\n  # then open "
        return f"{start}{self.uri.rstrip('/') if served else 'http://127.0.0.1:5000'}/{charts}"

    def _connect(self) -> tuple[Any, str]:
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # its defaults hang for minutes
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "15")
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        for noisy in ("mlflow", "alembic"):  # after the import, which sets them itself
            logging.getLogger(noisy).setLevel(logging.WARNING)
        local = self.uri.startswith("sqlite:")
        self.runs.mkdir(parents=True, exist_ok=True)
        with FileLock(self.runs / ".mlflow.lock"):  # a fresh database's migrations bear one process only
            client = MlflowClient(self.uri)
            found = client.get_experiment_by_name(self.experiment)
            if found is not None:
                return client, found.experiment_id
            try:
                place = (self.runs / "mlartifacts").as_uri() if local else None
                made = client.create_experiment(self.experiment, artifact_location=place)
            except MlflowException:  # another machine was faster
                return client, client.get_experiment_by_name(self.experiment).experiment_id
            client.set_experiment_tag(made, "mlflow.experimentKind", "custom_model_development")
            return client, made

    def _log_params(self, params: dict[str, str]) -> None:
        from mlflow.entities import Param

        items = [Param(_key(key), value) for key, value in params.items()]
        for start in range(0, len(items), PARAM_BATCH):
            self._client.log_batch(self.run_id, params=items[start : start + PARAM_BATCH])

    def _write_until_stopped(self) -> None:
        stopped = False
        while not stopped:
            stopped = self._stop.wait(PAUSE)
            while not self._queue.empty():
                write = self._queue.get()
                try:
                    write()
                except Exception as error:
                    self._tell(error)
            self._flush()

    def _read_points(self, values: dict[str, Any], step: int, time_ms: int) -> None:
        from mlflow.entities import Metric

        numbers = {_key(k): v.item() if isinstance(v, torch.Tensor) else float(v) for k, v in values.items()}
        self._pending += [Metric(k, v, time_ms, step) for k, v in numbers.items() if math.isfinite(v)]
        for key, number in numbers.items():
            if not math.isfinite(number):  # MLflow would store 1.8e308, or nothing
                self._client.set_tag(self.run_id, f"nonfinite.{key}", f"{number} at step {step}")

    def _flush(self) -> None:
        while self._pending and time.monotonic() >= self._next_try:
            try:
                self._client.log_batch(self.run_id, metrics=self._pending[:BATCH])
            except Exception as error:
                self._tell(error)
                return
            del self._pending[:BATCH]

    def _send_image(self, key: str, image: Image, step: int) -> None:
        """The two files that MLflow's image grid looks for: its own `log_image` would shrink and blur the second."""
        folder = self._folder / "panels"
        folder.mkdir(exist_ok=True)
        now, name = int(time.time() * 1000), _key(key).replace("/", "~")
        stem = f"{name}+step+{step}+timestamp+{now}+{uuid.uuid4()}"
        image.save(folder / f"{stem}.png")
        image.save(folder / f"{stem}+compressed.webp", lossless=True, method=0)
        for path in (folder / f"{stem}.png", folder / f"{stem}+compressed.webp"):
            self._client.log_artifact(self.run_id, str(path), "images")
            path.unlink()
        self._client.set_tag(self.run_id, "mlflow.loggedImages", "True")

    def _tell(self, error: Exception) -> None:
        self._next_try = time.monotonic() + RETRY
        if not self._told:
            self._told = True
            reason = str(error).splitlines()[0]
            print(f"\nMLflow does not answer ({reason}); training goes on, and it is tried again", file=sys.stderr)


def _flat(node: Any, prefix: str = "") -> dict[str, str]:
    """`{"model.net.width": "64", "model.net": "EDSR"}`: every dial once.

    Left to config.yaml is what is no dial: where things lie, what is empty, what merely repeats a root dial in a part;
    and a value that MLflow cannot hold whole, which is never cut.
    """
    if not isinstance(node, dict):
        text = str(node)
        return {prefix: text if len(text) <= PARAM_LENGTH else f"{len(text)} characters, see config.yaml"}
    flat: dict[str, str] = {}
    for name, part in node.items():
        if name == "_target_":
            flat[prefix] = str(part).rpartition(".")[2]
        elif not (name.startswith("_") or part is None or (name in _HOUSEKEEPING if not prefix else name in _REPEATED)):
            flat |= _flat(part, f"{prefix}.{name}".lstrip("."))
    return flat


def _short(flat: dict[str, str], typed: list[str]) -> dict[str, str]:
    """What most runs differ in, and whatever was typed. MLflow prints all parameters of a run above each of its
    pictures: with thirty of them, two runs no longer stand side by side."""
    keys = {word.lstrip("+~").partition("=")[0].partition("@")[0].replace("/", ".") for word in typed}
    return {k: v for k, v in flat.items() if k in keys or k in _ALWAYS or k.startswith("model.net.")}


_HOUSEKEEPING = ("paths", "track", "stages", "metric", "channels")
_REPEATED = (
    "scale",
    "color",
    "channels",
    "seed",
    "root",
    "metric",
    "clip",
    "accumulate",
    "url",
    "sha256",
    "memory",
    "disk",
    "cache",
)
_ALWAYS = (
    "scale", "seed", "data.batch", "data.patch", "model.optimizer.lr", "model.weight", "model.warmup_steps",
    "model.ema", "trainer.max_steps", "trainer.max_epochs", "trainer.precision", "trainer.gradient_clip_val",
    "trainer.accumulate_grad_batches",
)  # fmt: skip


def _key(key: str) -> str:
    return re.sub(r"[^\w\-./ :]", "_", key, flags=re.ASCII)
