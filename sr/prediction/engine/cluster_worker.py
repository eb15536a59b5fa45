"""The workers of `engine=ray`: actors of Ray, each of which holds the net and gets files when it has none."""

import time
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

from sr.prediction.engine.chunk import ChunkQueue
from sr.prediction.engine.parquet import FAILED, ManifestRow
from sr.prediction.engine.remote import RemoteFile, RemoteUpscaler, Setup
from sr.runtime.error import UserError

POLL_SECONDS = 1.0


class ClusterWorker(RemoteUpscaler):
    """The actor. `model` is a list of one reference to the net."""

    def __init__(self, model: Sequence[Any], setup: Setup, device: str) -> None:
        import ray

        super().__init__(ray.get(model[0]), setup, device)


class Workers:
    """The workers of a command. `create` starts one, also in place of one that is lost."""

    def __init__(self, ray: ModuleType, create: Callable[[], Any], queue: ChunkQueue[Any, RemoteFile]) -> None:
        self.ray, self.create, self.queue = ray, create, queue
        # A stream of rows, or the answer of a worker that has started -> the worker, and by digest the files without a row.
        self.running: dict[Any, tuple[Any, dict[str, RemoteFile]]] = {}

    def iterate_rows(self, count: int) -> Iterator[ManifestRow]:
        """Yield what became of each file, as they end. Each of `count` workers gets files when it has none.

        Raises `UserError` if no worker is able to start.
        """
        for _ in range(count):
            self._start()
        error: Exception | None = None
        while self.running:
            for stream in self.ray.wait(list(self.running), timeout=POLL_SECONDS)[0]:
                is_stream = isinstance(stream, self.ray.ObjectRefGenerator)
                try:
                    row = self.ray.get(next(stream) if is_stream else stream)
                except StopIteration:
                    self._hand_out(stream)
                except self.ray.exceptions.RayError as lost:
                    error = lost
                    yield from self._replace(stream, lost, is_stream)
                else:
                    if is_stream:
                        del self.running[stream][1][row.digest]
                        yield row
                    else:
                        self._hand_out(stream)
        if self.queue:
            raise UserError(f"engine=ray: no worker is able to start ({_describe(error)})")

    def _start(self) -> None:
        worker = self.create()
        self.running[worker.__ray_ready__.remote()] = worker, {}

    def _hand_out(self, stream: Any) -> None:
        worker, _ = self.running.pop(stream)
        files = self.queue.take()
        if files:
            following = worker.upscale.options(num_returns="streaming").remote(files)
            self.running[following] = worker, {file.digest: file for file in files}

    def _replace(self, stream: Any, error: Exception, has_started: bool) -> Iterator[ManifestRow]:
        """Start a worker in place of one that is lost, and yield rows of the files that are lost the second time."""
        worker, files = self.running.pop(stream)
        self.ray.kill(worker)  # of which an error may be all that is lost
        for file in self.queue.put_back(list(files.values())):
            reason = f"{file.address}: its worker was lost twice ({_describe(error)})"
            yield ManifestRow(file.address, file.digest, FAILED, reason=reason, ended=time.time())
        if has_started and self.queue:
            self._start()


def _describe(error: Exception | None) -> str:
    """Return the last line of an error of Ray, the first ones of which are the traceback of a worker."""
    return f"{type(error).__name__}: {str(error).strip().splitlines()[-1]}"
