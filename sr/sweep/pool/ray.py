"""`sweep/pool=ray`: each trial is a task of Ray (https://docs.ray.io), on this machine or an existing cluster.

The folder of the runs must be one that all machines share.
"""

import os
from dataclasses import replace
from typing import Any

from sr.runtime.ray_cluster import connect_ray
from sr.sweep.pool.command import run_command
from sr.sweep.pool.pool import EXIT_FAILED, EXIT_INTERRUPTED, Pool, Task, TrialJob, add_threads

PASSED_VARIABLES = (
    "SR_",
    "MLFLOW_",
    "AWS_",
    "PYTHONPATH",
)  # beginnings; other machines have an environment of their own


class RayPool(Pool):
    """Runs trials where Ray has `cpus` and `gpus` free, `sweep.jobs` of them at a time.

    `address` names a cluster, `auto` the one that this machine belongs to; without it, one is started on this machine.
    """

    is_cluster = True

    def __init__(
        self, jobs: int, gpus_per_trial: int, address: str | None = None, cpus: float = 1, gpus: float = 0
    ) -> None:
        ray = connect_ray(address, round(jobs * cpus), "sweep/pool=ray", "sweep.pool.address")
        self.threads = max(1, round(cpus))
        self._run = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0, max_calls=1)(run_command)

    def start(self, task: Task) -> TrialJob:
        passed = {name: value for name, value in os.environ.items() if name.startswith(PASSED_VARIABLES)}
        task = replace(task, variables=passed | task.variables)
        return RayJob(self._run.remote(add_threads(task, self.threads)), task)

    def close(self) -> None:
        import ray

        ray.shutdown()


class RayJob(TrialJob):
    """A trial as a task of Ray, whose result is the exit code of the trial."""

    def __init__(self, reference: Any, task: Task) -> None:
        self._reference, self._task = reference, task
        self._has_ended = False

    @property
    def has_ended(self) -> bool:
        import ray

        if not self._has_ended and ray.wait([self._reference], timeout=0)[0]:
            self.exit_code, self._has_ended = self._read_exit_code(), True
        return self._has_ended

    def kill(self) -> None:
        import ray

        ray.cancel(self._reference, force=True)

    def _read_exit_code(self) -> int:
        import ray
        from ray import exceptions

        try:
            return ray.get(self._reference)
        except (exceptions.NodeDiedError, exceptions.RaySystemError):
            return EXIT_INTERRUPTED
        except exceptions.RayError as error:  # its worker has crashed, or was ended for its memory
            reason = str(error).strip().splitlines()[0]
            with self._task.log.open("a", encoding="utf-8") as log:
                log.write(f"\n{error}\nerror: Ray has ended the trial: {type(error).__name__}: {reason}\n")
            return EXIT_FAILED
