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

SHUTDOWN_SECONDS = 30.0  # time for the other processes to end by themselves after a training …
FAILURE_SECONDS = 2.0  # … and after an error in this process, since they would wait for it


@contextlib.contextmanager
def launch_processes(count: int, words: Sequence[str]) -> Iterator[None]:
    """Run `python -m sr.run WORDS` in `count` - 1 further processes, with the environment variables that torchrun sets.

    Nothing is started if a launcher (torchrun, SLURM) has started the processes already. If one of them fails, this
    process is interrupted.
    """
    if count <= 1 or "LOCAL_RANK" in os.environ:
        yield
        return
    threads = str(max(1, (os.cpu_count() or 1) // count))
    variables = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_find_free_port())}
    variables |= {"WORLD_SIZE": str(count), "NODE_RANK": "0"}
    variables["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", threads)
    command = [sys.executable, "-m", "sr.run", *words]
    env = os.environ | variables
    workers = [subprocess.Popen(command, env=env | {"LOCAL_RANK": str(rank)}) for rank in range(1, count)]
    finished = threading.Event()
    threading.Thread(target=_interrupt_on_failure, args=(workers, finished), daemon=True).start()
    old_values = {name: os.environ.get(name) for name in (*variables, "LOCAL_RANK")}
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
        if failed and not finished.is_set():
            print(f"a process of this training ended with exit code {failed[0].returncode}", file=sys.stderr)
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


def _find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
