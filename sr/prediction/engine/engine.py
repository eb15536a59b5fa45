"""`engine=none|process|auto`: upscale in this process, in several ones, or begin here and go on in several if that pays."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import psutil
import torch

from sr.checkpoint.load import LoadedNet
from sr.prediction.engine.process import ProcessEngine, StartError, start_server
from sr.prediction.engine.upscaler import JobOutcome, JobQueue, NumberedJob, Report, UpscaleOptions, Upscaler
from sr.prediction.sources import is_address
from sr.runtime import malloc
from sr.runtime.cores import count_cores
from sr.runtime.error import UserError
from sr.runtime.free_memory import measure_free_memory
from sr.runtime.terminal import print_note

MIN_BYTES = 500_000_000  # of memory for each process
FIRST_SECONDS = 2.0  # of work in this process, by which the rest is estimated …
MIN_SECONDS = 20.0  # … that has to be longer than this: processes need about four to begin


def check_engine(config: Mapping[str, Any]) -> None:
    """Raise `UserError` if an option does not belong to the engine."""
    engine, workers = config["engine"], config["workers"]
    words = config["input"] if isinstance(config["input"], list | tuple) else [config["input"]]
    for key, word in [*(("input", word) for word in words), ("output", config["output"])]:
        if engine != "ray" and is_address(word or ""):
            raise UserError(f"{key}={word}: expected engine=ray for an address (found engine={engine})")
    if engine == "none" and workers is not None:
        raise UserError(f"workers={workers}: expected engine=process or engine=ray (found engine=none); leave it out")
    for key in ("address", "gpus"):
        if engine != "ray" and config[key] is not None:
            raise UserError(f"{key}={config[key]}: expected engine=ray (found engine={engine}); leave it out")


def iterate_outcomes(
    config: Mapping[str, Any], model: LoadedNet, queue: JobQueue, pixels: Sequence[int], report: Report
) -> Iterator[JobOutcome]:
    """Yield the outcomes of the jobs, in the order in which they end; `pixels` are those of each job's result."""
    options = UpscaleOptions(**{key: config[key] for key in UpscaleOptions._fields})
    here = Upscaler(model, options, report)
    count = _count_processes(config, model, len(queue))
    if count and config["engine"] == "auto" and config["workers"] is None:
        estimate = Estimate(pixels)
        for outcome in here.upscale(_iterate_jobs(queue, estimate.is_long)):
            estimate.add(outcome.number)
            yield outcome
        count = _count_processes(config, model, len(queue))
    if count:
        malloc.return_freed_memory()
        try:
            yield from _create_processes(model, options, count).iterate_outcomes(queue, report)
        except StartError as error:
            if config["engine"] != "auto":
                raise
            print_note(f"{error}; the rest is upscaled by one process")
    yield from here.upscale(_iterate_jobs(queue))


class Estimate:
    """Estimates what remains from what is done: `pixels` of each job's result."""

    def __init__(self, pixels: Sequence[int]) -> None:
        self._pixels, self._total, self._done, self._start = pixels, sum(pixels), 0, time.monotonic()

    def add(self, number: int) -> None:
        """Count a job as done."""
        self._done += self._pixels[number]

    def is_long(self) -> bool:
        """Return True if so much remains that further processes are worth their start, which then begins."""
        seconds = time.monotonic() - self._start
        is_long = seconds >= FIRST_SECONDS and seconds * (self._total - self._done) > MIN_SECONDS * self._done > 0
        if is_long:
            start_server()
        return is_long


def _iterate_jobs(queue: JobQueue, is_enough: Callable[[], bool] = lambda: False) -> Iterator[NumberedJob]:
    while queue and not is_enough():
        yield from queue.take()


def _count_processes(config: Mapping[str, Any], model: LoadedNet, chunks: int) -> int:
    """Return how many processes upscale so many chunks; 0: this one does."""
    engine, workers = config["engine"], config["workers"]
    is_asked = engine == "process" or workers is not None
    if engine == "none":
        return 0
    if model.device.type != "cpu":
        if is_asked:
            raise UserError(
                f"engine={engine}: several processes share the cores (found device={model.device}); type engine=none"
            )
        return 0
    if config["uncertainty"] is not False:
        if is_asked:
            print_note(f"engine={engine}: maps of uncertainty are made by one process, this one")
        return 0
    budget = _measure_budget(config["memory"])
    cores = workers or (count_cores() if engine == "process" else min(count_cores(), torch.get_num_threads()))
    count = min(cores, chunks, max(1, budget // MIN_BYTES))
    return count if count > 1 or is_asked else 0


def _create_processes(model: LoadedNet, options: UpscaleOptions, count: int) -> ProcessEngine:
    options = options._replace(memory=_measure_budget(options.memory) // count)
    return ProcessEngine(model, options, count, max(1, torch.get_num_threads() // count))


def _measure_budget(memory: int | None) -> int:
    """Return the bytes that all further processes may use: `memory` is for them and this one, by default half of what is free."""
    return measure_free_memory() // 2 if memory is None else max(0, memory - psutil.Process().memory_info().rss)
