"""Start one process for each device of this machine: a training on several devices starts copies of its own command.

Processes that torchrun or srun has started, on one machine or several, are only counted. On one machine sr starts them
itself: when one fails or a signal ends all, Lightning's launcher kills the others at once and torchrun after half a
minute, in which a slow tracker has not received the results (`tests/test_launch.py` shows both).
"""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence

from sr.runtime.cores import count_cores
from sr.runtime.error import UserError
from sr.runtime.signals import signals

SHUTDOWN_SECONDS = 30.0  # time for the other processes to end by themselves after a training …
FAILURE_SECONDS = 2.0  # … and after an error in this process, since they would wait for it
RANK_VARIABLES = ("RANK", "LOCAL_RANK", "SLURM_PROCID")
PROCESS_COUNT_VARIABLES = ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
SLURM_TASKS = "SLURM_NTASKS"  # by which Lightning recognizes that srun has started the processes
THREADS = "OMP_NUM_THREADS"  # the libraries read it once, when they are loaded
TRIAL_THREADS = "SR_TRIAL_THREADS"  # of all processes of a sweep's trial, if the pool has chosen their number
OWN_LAUNCHER = "SR_LAUNCHER"  # set in the processes that `launch_processes` starts


def find_rank() -> int:
    """Return the rank of this process among several that train together."""
    return next((int(os.environ[name]) for name in RANK_VARIABLES if os.environ.get(name)), 0)


def count_tasks() -> int:
    """Return the number of processes that torchrun or srun has started for this training."""
    return max(int(os.environ.get(name) or 1) for name in PROCESS_COUNT_VARIABLES)


def is_launched_by_others() -> bool:
    """Return True if torchrun or srun has started this process and others to train with it."""
    return count_tasks() > 1 and OWN_LAUNCHER not in os.environ


@contextlib.contextmanager
def launch_processes(count: int, words: Sequence[str], machines: int = 1) -> Iterator[None]:
    """Run `python -m sr.run WORDS` in `count` - 1 further processes, with the environment variables that torchrun sets.

    Nothing is started if torchrun or srun has started the processes already, which they must have done on several
    `machines`. If one of the processes fails, this one is interrupted.
    """
    if _has_started_all(count, machines):
        yield
        return
    variables = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(find_free_port())}
    variables |= {"WORLD_SIZE": str(count), "NODE_RANK": "0", OWN_LAUNCHER: "1"}
    variables[THREADS] = str(_divide_threads(count))
    command = [sys.executable, "-m", "sr.run", *words]
    # In a batch job of SLURM Lightning would take each of these processes for the only task of the job.
    env = {name: value for name, value in os.environ.items() if name != SLURM_TASKS} | variables
    workers = [subprocess.Popen(command, env=env | {"LOCAL_RANK": str(rank)}) for rank in range(1, count)]
    finished = threading.Event()
    threading.Thread(target=_interrupt_on_failure, args=(workers, finished), daemon=True).start()
    old_values = {name: os.environ.get(name) for name in (*variables, "LOCAL_RANK", SLURM_TASKS)}
    os.environ.pop(SLURM_TASKS, None)
    os.environ.update(variables | {"LOCAL_RANK": "0"})
    timeout = FAILURE_SECONDS
    try:
        with _use_threads(int(variables[THREADS])):
            yield
        _destroy_process_group()
        timeout = SHUTDOWN_SECONDS
    finally:
        finished.set()
        _end_processes(workers, timeout)
        for name, value in old_values.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def _divide_threads(count: int) -> int:
    """Return the number of threads for each of `count` processes: the user's, or a share of the trial's or the machine's."""
    if THREADS in os.environ and TRIAL_THREADS not in os.environ:
        return int(os.environ[THREADS])
    return max(1, int(os.environ.get(TRIAL_THREADS) or count_cores()) // count)


@contextlib.contextmanager
def _use_threads(count: int) -> Iterator[None]:
    """Limit PyTorch's threads in this process, which may have imported it before OMP_NUM_THREADS was set."""
    import torch

    old_count = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(old_count)


def _has_started_all(count: int, machines: int) -> bool:
    """Return True if a launcher has started `count` processes on each of the machines; raise if it has started others."""
    tasks = count_tasks()
    if OWN_LAUNCHER in os.environ or tasks == count * machines:
        return True
    if tasks == machines == 1:
        return False
    typed = f"trainer.devices={count} trainer.num_nodes={machines}"
    if tasks == 1:
        raise UserError(
            f"{typed}: expected {count * machines} processes (found this one alone); type on each machine: torchrun "
            f"--nnodes={machines} --node-rank=NUMBER --nproc-per-node={count} --master-addr=FIRST_MACHINE "
            "-m sr.run …, or use srun"
        )
    local = int(os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("SLURM_NTASKS_PER_NODE") or 1)
    raise UserError(
        f"{typed}: expected {count * machines} processes (found {tasks}, started by torchrun or srun); for these type "
        f"trainer=ddp trainer.devices={local} trainer.num_nodes={tasks // local}"
    )


def _interrupt_on_failure(workers: list[subprocess.Popen], finished: threading.Event) -> None:
    """Poll the other processes until `finished` is set; interrupt the main thread when one of them has failed."""
    while not finished.wait(0.5):
        failed = [worker for worker in workers if worker.poll() not in (None, 0)]
        if failed and signals.is_ending:  # a signal ends all processes, this one as well
            return
        if failed and not finished.is_set():
            signals.abort(f"a process of this training ended with exit code {failed[0].returncode}; its error is above")
            return


def _destroy_process_group() -> None:
    """Leave torch's process group: the next training of a sweep starts other processes, at another port."""
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()


def _end_processes(workers: list[subprocess.Popen], timeout: float) -> None:
    """Wait for all processes, at most `timeout` seconds in total, and kill the remaining ones."""
    deadline = time.monotonic() + timeout
    for worker in workers:
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.wait(max(0.1, deadline - time.monotonic()))
        if worker.poll() is None:
            worker.kill()


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
