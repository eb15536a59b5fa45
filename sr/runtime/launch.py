"""Start one process for each device: a training on several devices starts copies of its own command."""

import _thread
import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta

from sr.runtime.error import UserError
from sr.runtime.signals import signals

SHUTDOWN_SECONDS = 30.0  # time for the other processes to end by themselves after a training …
FAILURE_SECONDS = 2.0  # … and after an error in this process, since they would wait for it
RANK_VARIABLES = ("RANK", "LOCAL_RANK", "SLURM_PROCID")
PROCESS_COUNT_VARIABLES = ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
SLURM_TASKS = "SLURM_NTASKS"  # by which Lightning recognizes that srun has started the processes
SHARE_TIMEOUT = timedelta(minutes=5)  # for processes that start later than the first one


def find_rank() -> int:
    """Return the rank of this process among several that train together."""
    return next((int(os.environ[name]) for name in RANK_VARIABLES if os.environ.get(name)), 0)


def count_tasks() -> int:
    """Return the number of processes that torchrun or srun has started for this training."""
    return max(int(os.environ.get(name) or 1) for name in PROCESS_COUNT_VARIABLES)


def share_first_answer(answer: str, option: str) -> str:
    """Return the answer of the first of the processes that torchrun or srun has started; alone, this process's own.

    Before torch's process group exists, and at the port after its own. `option` begins the message of an error.
    """
    count = count_tasks()
    if count <= 1:
        return answer
    import sr.runtime.torchvision_shim  # noqa: F401  before Lightning

    from lightning_fabric.plugins.environments import LightningEnvironment, SLURMEnvironment
    from torch.distributed import TCPStore

    launcher = LightningEnvironment() if os.environ.get("MASTER_ADDR") else SLURMEnvironment()
    address, port, rank = launcher.main_address, launcher.main_port + 1, find_rank()
    try:
        store = TCPStore(address, port, count, is_master=not rank, timeout=SHARE_TIMEOUT)
        if not rank:
            store.set("answer", answer)
        received = store.get("answer").decode()
        store.set(f"received {rank}", "")
        if not rank:  # it serves the others
            store.wait([f"received {other}" for other in range(count)])
    except RuntimeError as error:
        raise UserError(
            f"{option}: the {count} processes of this job cannot reach each other at {address}:{port} "
            f"({str(error).splitlines()[0]}); name the run, resume=FOLDER"
        ) from None
    return received


@contextlib.contextmanager
def launch_processes(count: int, words: Sequence[str]) -> Iterator[None]:
    """Run `python -m sr.run WORDS` in `count` - 1 further processes, with the environment variables that torchrun sets.

    Nothing is started if a launcher (torchrun, SLURM) has started the processes already. If one of them fails, this
    process is interrupted.
    """
    if count <= 1 or "LOCAL_RANK" in os.environ or count_tasks() > 1:
        yield
        return
    threads = str(max(1, (os.cpu_count() or 1) // count))
    variables = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(find_free_port())}
    variables |= {"WORLD_SIZE": str(count), "NODE_RANK": "0"}
    variables["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", threads)
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
        yield
        _destroy_process_group()
        timeout = SHUTDOWN_SECONDS
    finally:
        finished.set()
        _end_processes(workers, timeout)
        for name, value in old_values.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def _interrupt_on_failure(workers: list[subprocess.Popen], finished: threading.Event) -> None:
    """Poll the other processes until `finished` is set; interrupt the main thread when one of them has failed."""
    while not finished.wait(0.5):
        failed = [worker for worker in workers if worker.poll() not in (None, 0)]
        if failed and signals.is_ending:  # a signal ends all processes, this one as well
            return
        if failed and not finished.is_set():
            print(f"a process of this training ended with exit code {failed[0].returncode}", file=sys.stderr)
            signals.is_deferring = False  # without that process the step in progress never ends
            _thread.interrupt_main()
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
