"""System metrics of a run: sampled during training without slowing it down, under the names that MLflow shows."""

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_run import start

from sr.callback import system_metrics
from sr.callback.system_metrics import SystemMetrics, read_rapl
from sr.callback.throughput import DataWaitProfiler
from sr.record.machine import MACHINE_METRICS
from sr.track.none import NoTracker

MLFLOW_NAMES = {
    "cpu_utilization_percentage", "system_memory_usage_megabytes", "system_memory_usage_percentage",
    "disk_usage_percentage", "disk_available_megabytes",
}  # fmt: skip


class Recorder(NoTracker):
    """Stores the points that are logged."""

    def __init__(self) -> None:
        super().__init__()
        self.all: list[tuple[int, dict[str, float]]] = []

    def log_points(self, values: dict[str, Any], step: int) -> None:
        self.all.append((step, values))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


def sample(tmp_path: Path, every: float | None, seconds: float) -> tuple[Recorder, SystemMetrics]:
    recorder, steps = Recorder(), iter(range(1, 1000))
    sampler = SystemMetrics(recorder, tmp_path, every, lambda: next(steps))
    sampler.start()
    time.sleep(seconds)
    sampler.stop()
    return recorder, sampler


def test_the_names_are_mlflows_and_the_values_make_sense(tmp_path: Path) -> None:
    recorder, _ = sample(tmp_path, 0.1, 0.35)
    assert len(recorder.all) >= 2
    assert [step for step, _ in recorder.all] == list(range(1, len(recorder.all) + 1))
    values = recorder.all[-1][1]
    assert {f"system/{name}" for name in MLFLOW_NAMES} | {"system/process_memory_usage_megabytes"} == set(values)
    assert all(0 <= value <= 100 for name, value in values.items() if name.endswith("percentage"))
    assert 50 < values["system/process_memory_usage_megabytes"] < values["system/system_memory_usage_megabytes"]
    assert all(MACHINE_METRICS.fullmatch(name) for name in values)


def test_mlflow_itself_uses_these_names() -> None:
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor

    names: set[str] = set()
    for monitor in (CPUMonitor(), DiskMonitor()):
        monitor.collect_metrics()
        names |= set(monitor.metrics)
    assert names >= MLFLOW_NAMES


def test_the_shortest_run_has_one_sample_and_null_has_none(tmp_path: Path) -> None:
    assert len(sample(tmp_path, 60, 0.05)[0].all) == 1
    assert sample(tmp_path, None, 0.05)[0].all == []


def test_a_failing_tracker_or_driver_is_reported_once(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    class Broken(NoTracker):
        def log_points(self, values: dict[str, Any], step: int) -> None:
            raise RuntimeError("driver lost")

    sampler = SystemMetrics(Broken(), tmp_path, 0.02, lambda: 0)
    sampler.start()
    time.sleep(0.3)
    sampler.stop()
    assert capsys.readouterr().err.count("driver lost") == 1


def test_energy_is_counted_from_the_processors_own_counters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two packages are read; the parts of a package are counted in it. A counter that was reset is left out once."""
    for name, value in (("intel-rapl:0", 5), ("intel-rapl:1", 7), ("intel-rapl:0:0", 3), ("other", 1)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text(f"{value}\n")
    assert read_rapl(tmp_path) == {"intel-rapl:0": 5, "intel-rapl:1": 7}
    counts = iter([{"a": 0, "b": 9}, {"a": 7_200_000_000, "b": 3}, {"a": 10_800_000_000, "b": 3}])
    monkeypatch.setattr(system_metrics, "read_rapl", lambda: next(counts))
    sampler = SystemMetrics(Recorder(), tmp_path, 1, lambda: 0)
    before = system_metrics.read_rapl()
    for _ in range(2):
        before = sampler._add_energy({"gpu_0_power_usage_watts": 300.0}, before, seconds=6.0)
    assert sampler.wh == {"cpu": pytest.approx(3.0), "gpu": pytest.approx(1.0)}


class Cuda:
    """Two devices of 80 GB, a run on the second one. To ask CUDA for the first one's memory would open a context there."""

    def __init__(self, nvml: bool) -> None:
        self.nvml, self.contexts = nvml, {1}

    def device_memory_used(self, device: int) -> int:
        if not self.nvml:
            raise ModuleNotFoundError("nvidia-ml-py does not seem to be installed")
        return (4_000_000_000, 20_000_000_000)[device]

    def mem_get_info(self, device: int) -> tuple[int, int]:
        self.contexts.add(device)
        return 60_000_000_000, 80_000_000_000


@pytest.mark.parametrize(
    ("nvml", "megabytes", "shares"), [(True, {0: 4000, 1: 20000}, {0: 5, 1: 25}), (False, {1: 20000}, {1: 25})]
)
def test_no_context_is_opened_on_a_gpu_that_the_run_does_not_use(
    nvml: bool, megabytes: dict[int, float], shares: dict[int, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = Cuda(nvml)
    for name, fake in (
        ("is_initialized", lambda: True),
        ("device_count", lambda: 2),
        ("memory_reserved", lambda device: (0, 1_000_000)[device]),
        ("get_device_properties", lambda device: SimpleNamespace(total_memory=80_000_000_000)),
        ("device_memory_used", cuda.device_memory_used),
        ("mem_get_info", cuda.mem_get_info),
    ):
        monkeypatch.setattr(system_metrics.torch.cuda, name, fake)
    values = dict(system_metrics._sample_gpus())
    assert {k: values.get(f"gpu_{k}_memory_usage_megabytes") for k in megabytes} == megabytes
    assert {k: values.get(f"gpu_{k}_memory_usage_percentage") for k in shares} == shares
    assert len([name for name in values if name.endswith("memory_usage_megabytes")]) == len(megabytes)
    assert cuda.contexts == {1}


def test_waiting_is_the_time_in_the_loaders_next(monkeypatch: pytest.MonkeyPatch) -> None:
    now, waiting = 1.0, DataWaitProfiler()
    monkeypatch.setattr("sr.callback.throughput.time.perf_counter", lambda: now)
    for name, seconds in (("[Loop].train_dataloader_next", 3.0), ("[Loop].val_next", 5.0)):
        waiting.start(name)
        now += seconds
        waiting.stop(name)
    assert waiting.seconds == 3.0


@pytest.mark.usefixtures("sender_thread")
def test_every_validation_logs_the_throughput(sr: Any, world: Path, runs: Path) -> None:
    words = ("trainer.val_check_interval=2", "track.system_interval=0.5", "data.workers=1")
    _, summary, run = start(sr, world, runs, *words)
    from test_run import client

    for name in ("steps_per_second", "data_wait", "peak_memory_gb"):
        points = client(runs).get_metric_history(run.info.run_id, f"train/{name}")
        assert [point.step for point in points] == [2, 4, 5]
        assert all(point.value > 0 for point in points)
    assert run.data.metrics["train/data_wait"] <= 1
    assert 0.1 < run.data.metrics["train/peak_memory_gb"] < 20
    assert run.data.metrics["system/process_memory_usage_megabytes"] > 100
    assert isinstance(summary["energy_wh"], dict)
    files = {item.path for item in client(runs).list_artifacts(run.info.run_id)}
    assert {"choices.yaml", "data.json", "environment.yaml"} <= files
    (folder,) = runs.glob("*/data.json")
    known = json.loads(folder.read_text())
    assert set(known) == {"train", "val", "test"}
    assert len(known["train"]["photos"]["files"]) == 3
    assert "photos/p1.png" in known["train"]["photos"]["files"]
