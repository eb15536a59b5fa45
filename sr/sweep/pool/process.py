"""`sweep/pool=process`: each trial in a process of this machine, begun by a fork server with the libraries in memory."""

import contextlib
import multiprocessing
import os
import runpy
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace

import psutil

from sr.runtime.cores import count_cores
from sr.runtime.launch import THREADS, TRIAL_THREADS
from sr.sweep.pool.command import CommandJob
from sr.sweep.pool.gpu import VISIBLE, choose_gpus, list_gpus
from sr.sweep.pool.pool import Pool, Task, TrialJob

PRELOAD = ["sr.sweep.pool.preload"]
SERVER_VARIABLE = "SR_FORK_SERVER"  # says that a process is the server, not one that only imports all modules of sr
EXIT_UNKNOWN = 255  # of a process whose fork server has ended: `multiprocessing.popen_forkserver`


class ProcessPool(Pool):
    """Starts trials on this machine; `jobs` of them share its cores.

    `fork_server`: begin them in a moment, as copies of a process that has imported everything. Otherwise, and where
    processes cannot be copied safely (Windows has no fork, and Apple's libraries do not support it), each is a new Python.
    If a trial takes `gpus_per_trial` of the GPUs of this machine, several jobs share them, each with its own as far as they go.
    """

    def __init__(self, jobs: int, gpus_per_trial: int, fork_server: bool = True) -> None:
        self.threads = str(max(1, count_cores() // jobs))
        self.is_alone = jobs == 1  # its trials have the threads of their command
        self.gpus = list_gpus() if jobs > 1 and gpus_per_trial else []
        self.gpus_per_trial = gpus_per_trial
        self._started: list[tuple[str, TrialJob]] = []  # which trial has which GPU
        self.is_forking = fork_server and sys.platform == "linux"
        if self.is_forking:
            multiprocessing.set_forkserver_preload(PRELOAD)  # the server starts with the first trial

    def start(self, task: Task) -> TrialJob:
        if not self.gpus:
            return self._start(task)
        self._started = [(gpu, job) for gpu, job in self._started if not job.has_ended]
        chosen = choose_gpus(self.gpus, [gpu for gpu, _ in self._started], self.gpus_per_trial)
        job = self._start(replace(task, variables={**task.variables, VISIBLE: ",".join(chosen)}))
        self._started += [(gpu, job) for gpu in chosen]
        return job

    def _start(self, task: Task) -> TrialJob:
        with self._set_threads():
            if self.is_forking:
                try:
                    return ForkedJob(task)
                except OSError as error:  # the path of its socket is too long, for example
                    print(f"note: trials start without a fork server ({error})", file=sys.stderr)
                    self.is_forking = False
            return CommandJob(task)

    @contextlib.contextmanager
    def _set_threads(self) -> Iterator[None]:
        """Limit the threads of the processes that are started meanwhile, unless the user has set their number."""
        if self.is_alone or THREADS in os.environ:
            yield
            return
        os.environ |= {THREADS: self.threads, TRIAL_THREADS: self.threads}
        try:
            yield
        finally:
            del os.environ[THREADS], os.environ[TRIAL_THREADS]


class ForkedJob(TrialJob):
    """A trial on this machine, as a fork of the server."""

    def __init__(self, task: Task) -> None:
        task = replace(task, variables=os.environ | task.variables)  # the server's may be older
        context = multiprocessing.get_context("forkserver")
        self._process = context.Process(target=run_forked, args=(task,), name=task.name)
        os.environ[SERVER_VARIABLE] = "1"  # for the server, which the first trial starts
        try:
            self._process.start()
        finally:
            del os.environ[SERVER_VARIABLE]

    @property
    def has_ended(self) -> bool:
        code = self._process.exitcode
        self.exit_code = code or 0
        return code is not None and not (code == EXIT_UNKNOWN and psutil.pid_exists(self._process.pid))

    def kill(self) -> None:
        self._process.kill()


def run_forked(task: Task) -> None:
    """Run the program of a trial in this process, as if Python had just been started with it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the server ignores both
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    multiprocessing.set_start_method(None, force=True)  # Python's default, for the processes of the data loader
    with task.log.open("ab") as output:
        for descriptor in (1, 2):
            os.dup2(output.fileno(), descriptor)
    os.environ.clear()
    os.environ.update(task.variables)
    os.chdir(task.folder)
    flag, *words = task.program
    if flag == "-m":
        sys.argv = words
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [flag, *words]
        runpy.run_path(flag, run_name="__main__")
