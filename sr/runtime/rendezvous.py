"""Let processes that train together, on one machine or several, exchange words before torch's process group exists."""

import contextlib
import functools
import os
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

from sr.runtime.error import UserError
from sr.runtime.launch import count_tasks, find_rank

if TYPE_CHECKING:
    from torch.distributed import Store

PAUSE = 0.2  # seconds
TIMEOUT = timedelta(minutes=5)  # for processes that start later than the first one


def connect_store() -> "Store":
    """Return torch's key-value store that all processes of this training share; the first process, or torchrun, serves it.

    It is at the port of torch's process group, which finds it there later. Each thread needs a connection of its own. Raise
    torch's `DistError`, a `RuntimeError`, if the store cannot be reached.
    """
    import sr.runtime.torchvision_shim  # noqa: F401  before Lightning

    from lightning_fabric.plugins.environments import LightningEnvironment, SLURMEnvironment
    from torch.distributed import PrefixStore, TCPStore

    launcher = LightningEnvironment() if os.environ.get("MASTER_ADDR") else SLURMEnvironment()
    is_served_by_torchrun = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    store = TCPStore(
        launcher.main_address,
        launcher.main_port,
        is_master=not find_rank() and not is_served_by_torchrun,
        timeout=TIMEOUT,
        wait_for_workers=False,
        multi_tenant=not is_served_by_torchrun,
    )
    return PrefixStore(f"sr {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


@functools.cache
def _connect_main_thread(port: str | None) -> "Store":
    """Return the store for the main thread, which stays open as long as this process lives: others may still need it."""
    return connect_store()


def share_first_answer(answer: str, option: str) -> str:
    """Return the answer of the first of the processes that train together; alone, this process's own.

    `option` is what they ask for, once each, and begins the message of an error.
    """
    if count_tasks() <= 1:
        return answer
    with _explain_errors(f"{option}: "):
        store, rank = _connect_main_thread(os.environ.get("MASTER_PORT")), find_rank()
        if not rank:
            store.set(option, answer)
        _wait_for(store, [option])
        received = store.get(option).decode()
        store.set(f"{option} {rank}", "")
        if not rank:  # it serves the others
            _wait_for(store, [f"{option} {other}" for other in range(count_tasks())])
    return received


def wait_for_processes() -> None:
    """Wait until all processes that train together have come to this line.

    Unlike inside torch's process group, this one can be interrupted meanwhile: by Ctrl-C, or by the error of another one.
    """
    if count_tasks() > 1:
        with _explain_errors():
            store = _connect_main_thread(os.environ.get("MASTER_PORT"))
            store.set(f"ready {find_rank()}", "")
            _wait_for(store, [f"ready {rank}" for rank in range(count_tasks())])


def _wait_for(store: "Store", keys: list[str]) -> None:
    while not store.check(keys):
        time.sleep(PAUSE)


@contextlib.contextmanager
def _explain_errors(prefix: str = "") -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise UserError(
            f"{prefix}the {count_tasks()} processes of this training cannot reach each other "
            f"({str(error).splitlines()[0]}); check MASTER_ADDR and MASTER_PORT"
        ) from None
