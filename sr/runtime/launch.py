"""One process for each device: a training on several starts the others as copies of its own command."""

import _thread
import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence

ENDING = 30.0  # seconds that the others have for ending by themselves …
FAILED = 2.0  # … and when this process has failed, for they would wait for it


@contextlib.contextmanager
def launch_processes(count: int, words: Sequence[str]) -> Iterator[None]:
    """Run `python -m sr.run WORDS` in `count` - 1 further processes, which find each other as torchrun's would.

    Nothing is started where somebody else has done so (torchrun, SLURM). When one of them fails, this process is
    interrupted.
    """
    if count <= 1 or "LOCAL_RANK" in os.environ:
        yield
        return
    threads = str(max(1, (os.cpu_count() or 1) // count))
    here = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": str(count), "NODE_RANK": "0"}
    here["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", threads)
    command = [sys.executable, "-m", "sr.run", *words]
    env = os.environ | here
    others = [subprocess.Popen(command, env=env | {"LOCAL_RANK": str(rank)}) for rank in range(1, count)]
    done = threading.Event()
    threading.Thread(target=_watch, args=(others, done), daemon=True).start()
    before = {name: os.environ.get(name) for name in (*here, "LOCAL_RANK")}
    os.environ.update(here | {"LOCAL_RANK": "0"})
    patience = FAILED
    try:
        yield
        _part()
        patience = ENDING
    finally:
        done.set()
        _end(others, patience)
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def list_config_dirs(typed: list[str]) -> list[str]:
    """`--config-dir=DIR`, where the words have it, however it was typed."""
    found = []
    for i, word in enumerate(typed):
        option, _, value = word.partition("=")
        if option in ("--config-dir", "-cd"):
            found.append(f"--config-dir={value or (typed[i + 1] if i + 1 < len(typed) else '')}")
    return found


def quote_override(value: str) -> str:
    """A word as Hydra's grammar reads it whole."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _watch(others: list[subprocess.Popen], done: threading.Event) -> None:
    while not done.wait(0.5):
        failed = [other for other in others if other.poll() not in (None, 0)]
        if failed and not done.is_set():
            print(f"a process of this training ended with exit code {failed[0].returncode}", file=sys.stderr)
            _thread.interrupt_main()
            return


def _part() -> None:
    """A sweep's next training finds others, at another address."""
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()


def _end(others: list[subprocess.Popen], patience: float) -> None:
    deadline = time.monotonic() + patience
    for other in others:
        with contextlib.suppress(subprocess.TimeoutExpired):
            other.wait(max(0.1, deadline - time.monotonic()))
        if other.poll() is None:
            other.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
