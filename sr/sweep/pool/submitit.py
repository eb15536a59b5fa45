"""`sweep/pool=submitit`: each trial is a job of SLURM, by submitit (https://github.com/facebookincubator/submitit).

The folder of the runs must be one that all machines share.
"""

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Literal

from sr.runtime.error import UserError
from sr.sweep.pool.command import run_command
from sr.sweep.pool.pool import EXIT_FAILED, EXIT_INTERRUPTED, Pool, Task, TrialJob, add_threads

JOB_FOLDER = "jobs"  # in that of the trials' logs
SIGNAL_SECONDS = 120  # before the end of a job's time, in which the trial writes its checkpoint
STATES_INTERRUPTED = ("PREEMPTED", "TIMEOUT", "NODE_FAIL", "BOOT_FAIL", "CANCEL")  # beginnings of those of SLURM


class SubmititPool(Pool):
    """Submits trials to SLURM: at most `sweep.jobs` at a time, those that wait included.

    `minutes`, `cpus`, `gpus` and `memory` (GB) are of each trial, `parameters` further ones of submitit's executor, such as
    `slurm_account`. `cluster=local` runs the jobs on this machine.
    """

    is_cluster = True

    def __init__(
        self,
        jobs: int,
        gpus_per_trial: int,
        cluster: Literal["slurm", "local"] = "slurm",
        partition: str | None = None,
        minutes: int = 1440,
        cpus: int = 4,
        gpus: int = 0,
        memory: float | None = None,
        parameters: dict[str, str | int | float | bool] | None = None,
    ) -> None:
        try:
            import submitit
        except ImportError:
            raise UserError("sweep/pool=submitit: expected the package submitit: pip install 'sr[slurm]'") from None
        if cluster == "slurm" and shutil.which("sbatch") is None:
            raise UserError("sweep/pool=submitit: expected a machine of a SLURM cluster (found no command sbatch)")
        self.cluster, self.threads, self._executor_class = cluster, cpus, submitit.AutoExecutor
        self.parameters = {"timeout_min": minutes, "cpus_per_task": cpus, "gpus_per_node": gpus, "mem_gb": memory}
        self.parameters |= {"slurm_partition": partition, "slurm_signal_delay_s": SIGNAL_SECONDS, **(parameters or {})}
        with tempfile.TemporaryDirectory() as folder:
            self._make_executor(Path(folder), "trial")  # a mistake is reported before the sweep begins

    def start(self, task: Task) -> TrialJob:
        executor = self._make_executor(task.log.parent / JOB_FOLDER, task.name)
        try:
            return SubmititJob(executor.submit(run_command, add_threads(task, self.threads)), task)
        except Exception as error:  # what sbatch answers
            raise UserError(f"sweep/pool=submitit: the trial cannot be submitted ({error})") from error

    def _make_executor(self, folder: Path, name: str) -> Any:
        executor = self._executor_class(folder=folder, cluster=self.cluster)
        parameters = {name: value for name, value in self.parameters.items() if value is not None}
        try:
            executor.update_parameters(name=name, **parameters)
        except (NameError, TypeError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            raise UserError(f"sweep.pool.parameters: expected those of submitit ({reason})") from error
        return executor

    def cancel(self, job_id: str) -> None:
        if self.cluster == "slurm":
            subprocess.run(["scancel", job_id], check=False, capture_output=True)


class SubmititJob(TrialJob):
    """A trial as a job of submitit, whose result is the exit code of the trial."""

    def __init__(self, job: Any, task: Task) -> None:
        self.id, self._job, self._task = job.job_id, job, task
        self._has_ended = False

    @property
    def has_ended(self) -> bool:
        if not self._has_ended and self._job.done():
            self.exit_code, self._has_ended = self._read_exit_code(), True
        return self._has_ended

    def kill(self) -> None:
        self._job.cancel(check=False)

    def _read_exit_code(self) -> int:
        from submitit.core.utils import FailedJobError, UncompletedJobError

        try:
            return self._job.result()
        except (FailedJobError, UncompletedJobError) as error:
            state = self._job.state
            if state.startswith(STATES_INTERRUPTED):
                return EXIT_INTERRUPTED
            with self._task.log.open("a", encoding="utf-8") as log:
                log.write(f"\n{error}\nerror: job {self.id} has ended without a result: {state}\n")
            return EXIT_FAILED
