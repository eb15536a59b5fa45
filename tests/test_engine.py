"""`engine=` of sr.predict: several processes give the results of one, whatever happens to them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import write_image
from deadly_net import ALWAYS, MARK, ONCE, Deadly
from test_predict import create_work_folder, run_predict, save_checkpoint

from sr.image.file_format import Header
from sr.image.formats import find_format
from sr.prediction.engine import engine
from sr.prediction.engine.chunk import ChunkQueue, plan_chunks
from sr.prediction.engine.engine import Estimate
from sr.prediction.engine.upscaler import NumberedJob
from sr.prediction.jobs import Job
from sr.prediction.manifest import hash_file
from sr.runtime import cores
from sr.runtime.error import UserError


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return create_work_folder(tmp_path, monkeypatch)


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[None]:
    """End the fork server, which has PyTorch in memory, after the tests."""
    yield
    forkserver._forkserver._stop()


def write_images(count: int = 12) -> None:
    """Write images of which some follow others of their size, so that they are upscaled in one batch."""
    for k in range(count):
        write_image(Path(f"in/{k:02}.png"), 20, 30 + k // 4, seed=k)


def read_results(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).rglob("*_x2.*")}


def read_entries(folder: str) -> dict[str, dict[str, Any]]:
    content = json.loads(Path(folder, "predict.json").read_text(encoding="utf-8"))
    return {entry["target"]: entry for entry in content["images"]}


def make_job(height: int, width: int) -> Job:
    return Job(Path("a.png"), Path("b.png"), find_format("png"), Header(height, width, "color"), None)


def test_small_images_of_one_size_are_a_chunk() -> None:
    sizes = [(64, 64)] * 5 + [(64, 65)] + [(300, 300)] * 2 + [(1, 1)]
    assert plan_chunks([make_job(*size) for size in sizes]) == [
        range(4), range(4, 5), range(5, 6), range(6, 7), range(7, 8), range(8, 9)
    ]  # fmt: skip


def test_what_is_lost_is_done_alone_once_more() -> None:
    queue = ChunkQueue([range(3), range(3, 4)], lambda numbers: [NumberedJob(number, None) for number in numbers])
    first = queue.take()
    assert ([job.number for job in first], queue.has_lost) == ([0, 1, 2], False)
    assert queue.put_back(first[1:]) == []
    assert [[job.number for job in queue.take()] for _ in range(2)] == [[1], [2]]
    assert queue.put_back(first[2:]) == first[2:]
    assert ([job.number for job in queue.take()], len(queue), queue.take()) == ([3], 0, [])


def test_processes_pay_if_much_remains(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(engine, "start_server", lambda: None)
    estimate = Estimate([10] * 20)
    assert not estimate.is_long()
    now[0] += 4.0
    assert not estimate.is_long()  # nothing is known yet
    for number in range(2):
        estimate.add(number)
    assert estimate.is_long()  # 36 s
    for number in range(2, 4):
        estimate.add(number)
    assert not estimate.is_long()  # 16 s


def test_a_container_has_fewer_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "QUOTA", tmp_path / "cpu.max")
    every = cores.count_cores()
    for text, count in (("max 100000", every), ("50000 100000", 1), ("100000 100000", 1), ("9900000 100000", every)):
        (tmp_path / "cpu.max").write_text(f"{text}\n")
        assert cores.count_cores() == count


def test_workers_need_an_engine(checkpoint: Path) -> None:
    write_images(1)
    with pytest.raises(UserError, match=r"^workers=2: expected engine=process or engine=ray \(found engine=none\)"):
        run_predict(checkpoint, "in", "out", engine="none", workers=2)


def test_maps_are_made_by_one_process(checkpoint: Path, capsys: pytest.CaptureFixture) -> None:
    write_images(1)
    run_predict(checkpoint, "in", "out", engine="process", uncertainty=True)
    assert "note: engine=process: maps of uncertainty are made by one process, this one\n" in capsys.readouterr().err


@pytest.mark.slow(8)
def test_processes_write_what_one_does(checkpoint: Path, capsys: pytest.CaptureFixture) -> None:
    write_images()
    write_image(Path("in/large.jpg"), 300, 200)
    Path("in/05.png").write_bytes(Path("in/05.png").read_bytes()[:-40])  # its header can be read
    write_image(Path("in/niqe.png"), 200, 200)
    outs, errors = {}, {}
    for name, workers in (("none", None), ("process", 2)):
        with pytest.raises(UserError, match=r"^1 of 14 images could not be upscaled.*; 13 images upscaled into"):
            run_predict(checkpoint, "in", name, engine=name, workers=workers, niqe=True, preview=True)
        outs[name], errors[name] = capsys.readouterr()
    results = read_results("none")
    assert len(results) == 13
    assert read_results("process") == results
    assert Path("process/preview.png").read_bytes() == Path("none/preview.png").read_bytes()
    assert sorted(outs["process"].splitlines()) == sorted(outs["none"].splitlines())
    assert "in/05.png" in errors["process"]
    entries = [read_entries(name) for name in ("none", "process")]
    for entry in (entry for each in entries for entry in each.values()):
        entry.pop("seconds", None)
        entry.pop("time")
    assert entries[0] == entries[1]
    with pytest.raises(UserError, match=r"^1 of 1 images could not be upscaled.*; 13 images finished before"):
        run_predict(checkpoint, "in", "process", niqe=True)


@pytest.mark.slow(6)
def test_a_lost_process_is_replaced_and_its_images_are_done_once_more(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture
) -> None:
    for k, width in enumerate([30, 30, ALWAYS, 31, ONCE, 32, 33]):
        write_image(Path(f"in/{k}.png"), 20, width, seed=k)
    net = {"_target_": "deadly_net.Deadly"}
    weights = {f"net.{name}": value for name, value in Deadly().state_dict().items()}
    deadly = save_checkpoint(tmp_path / "deadly.ckpt", net=net, weights=weights)
    options = {"engine": "process", "workers": 2, "trust": ["deadly_net"]}
    with pytest.raises(UserError, match=r"^1 of 7 images could not be upscaled.*; 6 images upscaled"):
        run_predict(deadly, "in", "out", **options)
    assert MARK.exists()
    assert "in/2.png: cannot be upscaled (the process that works on it is ended by signal 9" in capsys.readouterr().err
    assert sorted(read_results("out")) == [f"{k}_x2.png" for k in (0, 1, 3, 4, 5, 6)]
    assert sorted(os.listdir("out")) == [*sorted(read_results("out")), "predict.json"]  # noqa: PTH208
    with pytest.raises(UserError, match=r"^1 of 1 images could not be upscaled.*; 6 images finished before"):
        run_predict(deadly, "in", "out", **options)


@pytest.mark.long
@pytest.mark.parametrize("number", [pytest.param(signal.SIGTERM, id="kill"), pytest.param(signal.SIGINT, id="Ctrl-C")])
def test_all_processes_stop_and_the_next_start_goes_on(checkpoint: Path, number: signal.Signals) -> None:
    for k in range(30):
        write_image(Path(f"in/{k:02}.png"), 200, 200 + k, seed=k)
    words = [f"checkpoint={checkpoint}", "device=cpu", "input=in", "output=out", "engine=process", "workers=2"]
    command = [sys.executable, "-m", "sr.predict", *words]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while process.poll() is None and len(read_results("out")) < 5:
        time.sleep(0.02)
    children = psutil.Process(process.pid).children(recursive=True)
    if number == signal.SIGINT:  # of a terminal, which sends it to all
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    _, err = process.communicate(timeout=200)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert " of 30 images upscaled into out; the same command does the others" in err
    psutil.wait_procs(children, timeout=100)
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    done = {path: path.stat().st_mtime_ns for path in Path("out").glob("*_x2.png")}
    assert 5 <= len(done) < 30
    assert not list(Path("out").glob(".*.part"))
    for name, entry in read_entries("out").items():
        assert hash_file(Path("out", name)) == entry.get("sha256", hash_file(Path("out", name)))
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    states = {path: path.stat().st_mtime_ns for path in Path("out").glob("*_x2.png")}
    assert len(states) == 30
    assert states.items() >= done.items()


@pytest.mark.slow(6)
def test_auto_goes_on_in_processes(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    for k in range(40):  # none of them small enough for a batch
        write_image(Path(f"in/{k:02}.png"), 100, 120, seed=k)
    seen: list[int] = []
    create = engine._create_processes

    def record(*arguments: Any) -> Any:
        seen.append(len(read_results("auto")))
        return create(*arguments)

    monkeypatch.setattr(engine, "_create_processes", record)
    monkeypatch.setattr(engine, "_count_processes", lambda config, model, chunks: 2 * (config["engine"] != "none"))
    monkeypatch.setattr(engine, "FIRST_SECONDS", 0)
    monkeypatch.setattr(engine, "MIN_SECONDS", 1e-9)
    run_predict(checkpoint, "in", "auto", engine="auto")
    run_predict(checkpoint, "in", "none", engine="none")
    assert 0 < seen[0] < 40
    assert read_results("auto") == read_results("none")
    assert capsys.readouterr().out.startswith("40 images upscaled ×2 into auto (")


@pytest.mark.slow(3)
def test_a_network_of_onnx_is_opened_by_each_process(tmp_path: Path, checkpoint: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs sr[onnx]")
    from sr.export import main

    write_images(4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["sr-export", f"checkpoint={checkpoint}", "output=net.onnx"])
        main()
    run_predict(Path("net.onnx"), "in", "none", engine="none")
    run_predict(Path("net.onnx"), "in", "process", engine="process", workers=1)
    assert len(read_results("none")) == 4
    assert read_results("process") == read_results("none")
