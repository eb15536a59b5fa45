"""Windows and macOS: every module can be imported, and what a training calls of the system has an answer there."""

import ctypes
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch

from sr.callback import throughput
from sr.runtime import malloc

# Other packages are imported first: they have guards of their own, for the real platform.
IMPORT_ALL = """
import importlib, os, pathlib, signal, sys
import sr.runtime.torchvision_shim
for name in ("pytorch_lightning", "torchmetrics", "mlflow", "mlflow.tracking", "hydra", "filelock", "psutil", "tqdm",
             "starlette", "torch.distributed", "multiprocessing.resource_sharer"):
    try:
        importlib.import_module(name)
    except ImportError:
        pass
for name in ("resource", "fcntl", "pwd", "grp", "termios", "pty"):
    sys.modules[name] = None  # importing it raises ImportError
POSIX = {os: ("fork", "getuid", "geteuid", "killpg", "setsid", "statvfs", "O_NOFOLLOW", "O_NONBLOCK", "O_DIRECTORY",
              "sched_getaffinity", "mkfifo", "getpgid"),
         signal: ("SIGKILL", "SIGHUP", "SIGUSR1", "SIGALRM", "SIGCHLD", "pthread_sigmask", "sigwaitinfo", "setitimer")}
for module, names in POSIX.items():
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
root, failed = pathlib.Path(sys.argv[1]), []
for file in sorted((root / "sr").rglob("*.py")):
    module = ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
    try:
        importlib.import_module(module)
    except Exception as error:
        failed.append(f"{module}: {error!r}")
print(failed)
"""


@pytest.mark.long
def test_every_module_is_imported_without_what_only_posix_has() -> None:
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL, root], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_peak_memory_is_known_without_the_module_resource(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "resource", None)
    info = SimpleNamespace(memory_info=lambda: SimpleNamespace(peak_wset=123))
    monkeypatch.setattr(psutil, "Process", lambda: info)
    assert throughput.read_peak_memory(torch.device("cpu")) == 123


def test_malloc_is_left_alone_on_other_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    def open_library(name: Any) -> None:
        raise TypeError(name)  # as on Windows

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(ctypes, "CDLL", open_library)
    malloc.retain_freed_memory()
