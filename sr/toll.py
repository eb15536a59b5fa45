"""What tracking takes from the training thread, against Lightning's and MLflow's own ways, and while MLflow is out.

Each turn is a loop of the same real steps, once with and once without what is measured: the difference holds what the
threads behind take from the loop as well, which a clock around the call would not see.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from pytorch_lightning.loggers import MLFlowLogger
from torch import nn

from sr import build
from sr.error import UserError
from sr.track.mlflow import MLflow

STEPS, SCALARS = 1000, 5
PICTURES, SIDE = 20, 260
LIGHTNING = "pytorch_lightning.loggers.MLFlowLogger.log_metrics, into SQLite"
LOG_IMAGE = "MlflowClient.log_image, into SQLite"
UNDISTURBED = "the same loop while MLflow's server answers"
WAY = """
import sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer
class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        time.sleep(float(sys.argv[2]))
        self.send_response(500), self.send_header("Content-Length", "0"), self.end_headers()
    do_POST = do_PUT = do_PATCH = do_GET
    def log_message(self, *_): pass
HTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""  # an MLflow that answers 500, so many seconds late


def rows(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Rows for the bench."""
    before = torch.get_num_threads()
    torch.set_num_threads(config["threads"])
    try:
        yield _steps(config["rounds"])
        yield _pictures(config["rounds"])
        yield from _outages(config)
    finally:
        torch.set_num_threads(before)


def _steps(rounds: int) -> dict[str, Any]:
    """ms that a step of about a millisecond takes longer with five scalars told."""
    work = _work()
    ours, rival = [], []
    with _tracker() as track, tempfile.TemporaryDirectory() as folder:
        lightning = MLFlowLogger("bench", tracking_uri=f"sqlite:///{folder}/mlflow.db", artifact_location=folder)
        lightning.log_metrics({"a": 0.0}, 0)

        def told(k: int) -> None:
            track.points({f"train/{i}": torch.tensor(float(k)) for i in range(SCALARS)}, k)

        def logged(k: int) -> None:
            lightning.log_metrics({f"train/{i}": float(k) for i in range(SCALARS)}, k)

        for _ in range(rounds):
            bare = _seconds(work, lambda k: None, STEPS)
            ours.append(1000 * (_seconds(work, told, STEPS) - bare) / STEPS)
            few = STEPS // 20  # at some ten milliseconds a step
            rival.append(1000 * (_seconds(work, logged, few) / few - bare / STEPS))
    return _row(f"tracking a step with {SCALARS} scalars", ours, rival, "ms", LIGHTNING)


def _pictures(rounds: int) -> dict[str, Any]:
    """ms of the training thread that a picture takes."""
    noise = Image.effect_noise((SIDE, SIDE), 100).convert("RGB")
    work = _work()
    ours, rival = [], []
    with _tracker() as track:
        client, run = track._upload._client, track.run_id
        for _ in range(rounds):
            bare = _seconds(work, lambda k: None, PICTURES)
            told = _seconds(work, lambda k: track.image("panel", noise, k), PICTURES)
            logged = _seconds(work, lambda k: client.log_image(run, noise, key="x", step=k, synchronous=True), PICTURES)
            ours.append(1000 * (told - bare) / PICTURES)
            rival.append(1000 * (logged - bare) / PICTURES)
    return _row(f"tracking a picture of {SIDE}×{SIDE}", ours, rival, "ms", LOG_IMAGE)


def _outages(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Steps of the default net a second, with MLflow killed, late, or broken, and undisturbed, in turns."""
    ways: dict[str, Callable[[int], Any]] = {
        "killed": lambda port: contextlib.nullcontext(),
        "3 s late": lambda port: _answering(port, 3.0),
        "answering 500": lambda port: _answering(port, 0.0),
    }
    step = _training(config)
    rates: dict[str, list[float]] = {name: [] for name in ways}
    undisturbed: dict[str, list[float]] = {name: [] for name in ways}
    for k in range(config["rounds"]):
        print(f"outages, round {k + 1} of {config['rounds']}", file=sys.stderr)
        for name, way in ways.items():
            turns = [(undisturbed[name], None), (rates[name], way)]
            for rate, what in turns if k % 2 == 0 else reversed(turns):
                rate.append(_rate(step, what, config["steps"]))
    for name in ways:
        yield _row(f"training while MLflow is {name}", rates[name], undisturbed[name], "steps/s", UNDISTURBED)


def _rate(step: Callable[[], dict[str, Any]], way: Callable[[int], Any] | None, steps: int) -> float:
    with _served() as (server, uri, port), tempfile.TemporaryDirectory() as runs:
        folder = Path(runs) / "run"
        folder.mkdir()
        track = MLflow(uri, runs, "bench")
        track.start("bench", folder, {}, [], {})
        for k in range(20):
            track.points(step(), k)
        if way is not None:
            _kill(server)
        with way(port) if way is not None else contextlib.nullcontext():
            start = time.perf_counter()
            for k in range(steps):
                track.points(step(), k)
                if k % 50 == 0:
                    track.settled(k)
            seconds = time.perf_counter() - start
            with contextlib.redirect_stderr(None):
                track.end("FINISHED")
    return steps / seconds


def _training(config: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    model = build.model(config)
    net, optimizer = model.net, model.optimizer(model.net.parameters())
    side = config["data"]["patch"]
    hr = torch.rand(config["data"]["batch"], 3, side, side)
    lr = hr[..., :: config["scale"], :: config["scale"]].contiguous()

    def step() -> dict[str, Any]:
        loss = model.loss.total(model.loss(net(lr), hr))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return {f"train/{i}": loss.detach() for i in range(SCALARS)}

    return step


def _work() -> Callable[[], Any]:
    """About a millisecond."""
    net, x = nn.Conv2d(16, 16, 3), torch.rand(1, 16, 48, 48)

    def step() -> None:
        with torch.no_grad():
            for _ in range(4):
                net(x)

    return step


def _seconds(work: Callable[[], Any], tell: Callable[[int], Any], steps: int) -> float:
    start = time.perf_counter()
    for k in range(steps):
        work()
        tell(k)
    return time.perf_counter() - start


@contextlib.contextmanager
def _tracker() -> Iterator[MLflow]:
    with tempfile.TemporaryDirectory() as runs:
        folder = Path(runs) / "run"
        folder.mkdir()
        track = MLflow(None, runs, "bench")
        track.start("bench", folder, {}, [], {})
        yield track
        track.end("FINISHED")


@contextlib.contextmanager
def _served() -> Iterator[tuple[subprocess.Popen[bytes], str, int]]:
    """MLflow's own server on loopback, over a database of its own."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        uri = f"http://127.0.0.1:{port}"
        words = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1", "--backend-store-uri",
                 f"sqlite:///{folder}/served.db", "--artifacts-destination", folder]  # fmt: skip
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *words],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            _wait(f"{uri}/health")
            yield server, uri, port
        finally:
            _kill(server)


def _wait(address: str) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=2) as answer:
            if answer.status == 200:
                return
        time.sleep(0.2)
    raise UserError("mlflow server did not start within two minutes")


def _kill(server: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


@contextlib.contextmanager
def _answering(port: int, delay: float) -> Iterator[None]:
    server = subprocess.Popen([sys.executable, "-c", WAY, str(port), str(delay)], start_new_session=True)
    try:
        yield
    finally:
        _kill(server)


def _row(name: str, ours: list[float], rival: list[float], unit: str, rival_is: str) -> dict[str, Any]:
    return {"name": name, "ours": ours, "rival": rival, "unit": unit, "rival_is": rival_is}
