"""Upscale numbered jobs in this process, whichever engine has started it, and complete what is to be known of each result."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from sr.checkpoint.load import LoadedNet
from sr.prediction.engine.chunk import ChunkQueue
from sr.prediction.manifest import hash_file
from sr.prediction.naturalness import Naturalness, measure_niqe
from sr.prediction.opened_job import UpscaleJob, UpscaleResult
from sr.prediction.pipeline import iterate_upscaled


class NumberedJob(NamedTuple):
    """A job and its number among those of a command."""

    number: int
    job: UpscaleJob


JobQueue = ChunkQueue[range, NumberedJob]
Chunk = Sequence[NumberedJob]  # small images that the net is called with at once, or one image; no engine divides it


class JobOutcome(NamedTuple):
    """The result of a job, and of a complete one the size of its file, the SHA-256 of that, and NIQE if asked for."""

    number: int
    result: UpscaleResult
    bytes: int = 0
    sha256: str = ""
    niqe: Naturalness | None = None


class UpscaleOptions(NamedTuple):
    """Options of sr.predict that all jobs share; `memory` are the bytes that one process may use."""

    ensemble: bool = False
    tile: int | None = None
    overlap: int | None = None
    memory: int | None = None
    niqe: bool = False


Report = Callable[[int, float], None]  # is called with a job's number and its share, in 0…1, that is upscaled


class Upscaler:
    """Upscales in this process, with a net in memory."""

    def __init__(self, model: LoadedNet, options: UpscaleOptions, report: Report | None = None) -> None:
        self.model, self.options, self.report = model, options, report

    def upscale(self, jobs: Iterable[NumberedJob]) -> Iterator[JobOutcome]:
        """Yield the outcomes in the order of the jobs, which are read a few ahead."""
        numbers: dict[Path, int] = {}  # of the jobs whose result is not there yet, by their targets

        def iterate_jobs() -> Iterator[UpscaleJob]:
            for number, job in jobs:
                numbers[job.target] = number
                yield job

        def report(share: float) -> None:
            self.report(next(iter(numbers.values())), share)

        options = {key: value for key, value in self.options._asdict().items() if key != "niqe"}
        results = iterate_upscaled(self.model, iterate_jobs(), **options, report=report if self.report else None)
        for result in results:
            yield self._complete(numbers.pop(result.job.target), result)

    def _complete(self, number: int, result: UpscaleResult) -> JobOutcome:
        source, target, read = result.job.source, result.job.target, result.job.read
        if result.error is not None:
            return JobOutcome(number, result)
        niqe = measure_niqe(source, target, read) if self.options.niqe else None
        return JobOutcome(number, result, target.stat().st_size, hash_file(target), niqe)
