"""A sweep of stubs that is killed, with all its processes or alone, is finished by the same command, in every pool."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from sr.record.identity import read_identity
from sr.sweep.study import JOURNAL_FILE, REASON

WORDS = ("fail=1", "crash=2", "memory=4", "steps=4", "sleep=0.2")
COMMAND = """
import json, sys
from pathlib import Path
from sr.config.build import build_part
from sr.sweep import scheduler
from sr.sweep.pool import process
from sr.sweep.space import Values
from sr.sweep.study import Study

runs, stub, node, last, *words = sys.argv[1:]
process.PRELOAD, scheduler.PROGRAM = [], [stub]
pool = build_part(json.loads(node), "sweep.pool", jobs=2, gpus_per_trial=0)
pruner = {"_target_": "optuna.pruners.MedianPruner", "n_startup_trials": 2}
space = {"x": Values(tuple(str(x) for x in range(1, int(last) + 1)))}
study = Study(Path(runs), space, {"sampler": None, "pruner": pruner}, ["maximize"], seed=0)
scheduler.Scheduler(study, Path(runs), [*words, f"paths.runs={runs}"], ["psnr"], 2, lambda: None, pool).run()
"""
POOLS = {
    "process": '{"_target_": "sr.sweep.pool.process.ProcessPool"}',
    "submitit": '{"_target_": "sr.sweep.pool.submitit.SubmititPool", "cluster": "local", "cpus": 1}',
    "ray": '{"_target_": "sr.sweep.pool.ray.RayPool"}',
}


def start(runs: Path, pool: str, last: int = 12) -> subprocess.Popen:
    stub = Path(__file__).with_name("trial_stub.py")
    command = [sys.executable, "-c", COMMAND, str(runs), str(stub), POOLS[pool], str(last), *WORDS]
    variables = os.environ | {"PYTHONPATH": str(stub.parents[1]), "RAY_AUTH_MODE": "disabled"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=variables, start_new_session=True
    )


def read_started(runs: Path) -> list[str]:
    file = runs / "started.txt"
    return file.read_text().splitlines() if file.exists() else []


def list_begun(runs: Path) -> tuple[list[str], dict[str, str]]:
    """Return `x=3` for each trial as often as it was begun, and the folders of those that were resumed."""
    started = [line.split()[6:] for line in read_started(runs)]  # after the words that all have
    begun = [words[0] for words in started if len(words) == 1]
    return begun, {words[0]: words[1].removeprefix("resume=").strip('"') for words in started if len(words) == 2}


def wait_for_checkpoint(runs: Path, word: str, process: subprocess.Popen) -> None:
    """Wait until a trial is in the middle of its steps."""
    deadline = time.monotonic() + 100
    while not any(word in line.split() for line in read_started(runs)) and time.monotonic() < deadline:
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.02)
    time.sleep(0.5)


def read_trials(runs: Path, count: int = 12) -> dict[str, FrozenTrial]:
    storage = JournalStorage(JournalFileBackend(str(runs / JOURNAL_FILE)))
    trials = optuna.load_study(study_name="sweep", storage=storage).trials
    assert [trial.number for trial in trials] == list(range(count))
    return {trial.params["x"]: trial for trial in trials}


@pytest.mark.parametrize(
    "pool",
    [pytest.param(pool, marks=getattr(pytest.mark, "slow" if pool == "process" else "long")) for pool in POOLS],
)
def test_a_killed_sweep_is_finished_by_the_same_command(tmp_path: Path, pool: str) -> None:
    extra = {"submitit": "slurm", "ray": "ray"}.get(pool)
    if extra:
        pytest.importorskip(pool, reason=f"needs pip install 'sr[{extra}]'")
    killed = start(tmp_path, pool)
    wait_for_checkpoint(tmp_path, "x=5", killed)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    again = start(tmp_path, pool)
    output, _ = again.communicate(timeout=200)
    assert again.returncode == 0, output

    trials = read_trials(tmp_path)
    reasons = {x: trial.user_attrs.get(REASON) for x, trial in trials.items() if trial.state == TrialState.FAIL}
    assert reasons == {
        "1": "x: expected another number",
        "2": "ended by signal 9 (out of memory?)",
        "4": "MemoryError",
    }
    values = {x: trial.values[0] for x, trial in trials.items() if trial.state == TrialState.COMPLETE}
    assert {x: values[x] for x in ("3", "5")} == {"3": 0.0, "5": -4.0}
    pruned = {x for x, trial in trials.items() if trial.state == TrialState.PRUNED}
    assert {"9", "10", "11", "12"} <= pruned
    assert {*reasons, *values, *pruned} == {str(x) for x in range(1, 13)}

    begun, resumed = list_begun(tmp_path)
    assert set(begun) == {f"x={x}" for x in range(2, 13)}  # all but the one that fails at once
    assert "x=5" in resumed
    repeated = {word for word, count in Counter(begun).items() if count > 1}  # killed before the first checkpoint
    assert begun.count("x=5") == 1
    assert len(repeated | resumed.keys()) <= 2  # the two that ran


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_sweep_that_ends_alone_interrupts_its_trials(tmp_path: Path, number: signal.Signals) -> None:
    """Both of a restarted sweep's trials are those that ran; it waits for them if it was killed a moment ago."""
    ended = start(tmp_path, "process", last=6)
    wait_for_checkpoint(tmp_path, "x=5", ended)
    ended.send_signal(number)
    ended.wait()
    again = start(tmp_path, "process", last=6)
    output, _ = again.communicate(timeout=100)
    assert again.returncode == 0, output
    trials = read_trials(tmp_path, 6)
    assert [trials[x].values for x in ("3", "5")] == [[0.0], [-4.0]]
    begun, resumed = list_begun(tmp_path)
    assert set(begun) == {"x=2", "x=3", "x=4", "x=5", "x=6"}
    assert begun.count("x=5") == 1
    assert len(begun) <= 6  # the other one that ran may not have had a checkpoint
    assert "x=5" in resumed
    assert {read_identity(Path(folder)).attempts for folder in resumed.values()} == {2}
