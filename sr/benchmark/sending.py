"""Compare sending a run's journal to MLflow with calls of MLflow's own client, one for each step."""

import math
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sr.benchmark.row import Row
from sr.record.journal_format import JOURNAL_FILE, append_entries, current_time_ms
from sr.track.address import default_uri
from sr.track.comparison import log_values
from sr.track.server import connect, import_mlflow
from sr.track.upload import Upload

SCALARS, STEPS, CHECKPOINT_INTERVAL = 50, 300, 100
MAX_ROUNDS = 3
REFERENCE = "MlflowClient.log_batch after each step, all its scalars, into SQLite"


def compare_sending(config: Mapping[str, Any]) -> list[Row]:
    """Return the row of the processor time of a step; the process that sends takes it, not the training."""
    import_mlflow(with_database=True)
    sides: tuple[list[float], list[float]] = ([], [])
    rounds = min(config["rounds"], MAX_ROUNDS)
    for k in range(1 + rounds):  # the first one warms up
        print(f"sending: round {k} of {rounds}", file=sys.stderr)
        turns = [(sides[0], _measure_upload), (sides[1], _measure_client)]
        for milliseconds, measure in turns if k % 2 == 0 else reversed(turns):
            with tempfile.TemporaryDirectory() as runs:  # each side has its own database
                milliseconds.append(measure(Path(runs)))
    return [Row(f"sending a step with {SCALARS} scalars", sides[0][1:], sides[1][1:], "CPU ms", REFERENCE)]


def _measure_upload(runs: Path) -> float:
    """Return the milliseconds of a step of our journal."""
    folder = runs / "run"
    folder.mkdir()
    _write_journal(folder)
    upload = Upload(folder, default_uri(runs), runs)
    upload.connect()
    return _measure_milliseconds(upload.send_all)


def _measure_client(runs: Path) -> float:
    """Return the milliseconds of a step of MLflow's client."""
    client, experiment = connect(default_uri(runs), "bench", runs)
    run_id = client.create_run(experiment).info.run_id
    return _measure_milliseconds(lambda: _log_steps(client, run_id))


def _list_values(step: int) -> dict[str, float]:
    return {f"train/{k}": math.sin(step + k) for k in range(SCALARS)}


def _write_journal(folder: Path) -> None:
    """Write the journal of a run that is finished."""
    now = current_time_ms()
    opening = {"id": "bench", "title": "bench", "experiment": "bench", "tags": {}, "params": {}}
    entries: list[dict[str, Any]] = [{"open": opening, "time": now}]
    for step in range(1, STEPS + 1):
        entries.append({"points": _list_values(step), "step": step, "time": now + step})
        entries += [{"settled": step}] * (step % CHECKPOINT_INTERVAL == 0)
    (folder / JOURNAL_FILE).touch()
    append_entries(folder / JOURNAL_FILE, [*entries, {"status": "FINISHED", "time": now + STEPS}])


def _log_steps(client: Any, run_id: str) -> None:
    for step in range(1, STEPS + 1):
        log_values(client, run_id, _list_values(step), step)


def _measure_milliseconds(send: Callable[[], Any]) -> float:
    """Return the processor time of a step."""
    start = time.process_time()
    send()
    return 1000 * (time.process_time() - start) / STEPS
