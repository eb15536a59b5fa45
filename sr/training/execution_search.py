"""`perf=auto` and `perf=fast`: measure at the start how this network is trained fastest on this machine.

`auto` varies what leaves float32 results as they are but for rounding: memory format (`trainer.channels_last`) and
torch.compile (`trainer.compile`). `fast` also tries bf16 (`trainer.precision`). Options that were typed, or that the
experiment sets, are not varied. The choice becomes part of the run's config, so that a resumed or reproduced run has it.
"""

import copy
import json
import sys
import time
from collections.abc import Callable, Collection
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sr.config.execution import Execution
from sr.config.schema import GPU_ACCELERATORS
from sr.data.module import SRDataModule
from sr.image.batch import Pair
from sr.model.layout import convert_batch, prepare_net
from sr.model.module import SRModule
from sr.record.machine import describe_machine
from sr.record.run_file import write_atomic
from sr.runtime.precision import has_fast_bf16

ROUNDS = 5  # of a few steps, in turns
ROUND_SECONDS = 0.2
WARM_UP = 2  # steps
MIN_BATCHES = 100  # of the training: measuring takes some fifty
MIN_COMPILE_SECONDS = 10.0  # compiling a small network takes about as long …
MAX_COMPILE_GAIN = 0.35  # … and saves at most this share of the time, of all the networks that were measured
MIN_GAIN = 0.03  # share of the time: less is noise
IMAGE_BOUND = 1e-5  # the largest difference of a float32 result, of images in 0…1
GRADIENT_BOUND = 1e-3  # that of a gradient, relative to its largest value
BF16 = "bf16-mixed"
FULL_PRECISION = ("32-true", "32", 32)


class PassResult(NamedTuple):
    """The output of one forward and backward pass."""

    image: Tensor
    gradients: list[Tensor]


class Timing(NamedTuple):
    """The measured times of one execution."""

    seconds: float  # of a batch: the network's forward and backward pass
    compile_seconds: float = 0.0  # once


class Choice(NamedTuple):
    """The chosen options of the trainer, and a sentence that says why."""

    execution: Execution
    reason: str


class ExecutionSearch:
    """The executions of one network on batches of one size, which are measured when they are needed.

    `changed` are the options that were typed or that the experiment sets: they are not varied. `pair` is a batch as the
    network takes it. The network that is passed in, and the state of PyTorch's random numbers, stay as they are.
    """

    def __init__(
        self, config: dict[str, Any], changed: Collection[str], net: nn.Module, pair: Pair, device: torch.device
    ) -> None:
        self.configured = Execution(*(config["trainer"][name] for name in Execution._fields))
        self.varied = {name for name in Execution._fields if f"trainer.{name}" not in changed}
        if config["perf"] != "fast" or self.configured.precision not in FULL_PRECISION or not has_fast_bf16(device):
            self.varied -= {"precision"}
        if self.configured.compile:
            self.varied -= {"compile"}
        self.net = copy.deepcopy(net).to(device).train()
        self.pair = Pair(*(image.to(device) for image in pair))
        self.file = Path(config["paths"]["cache"]).expanduser() / "perf" / f"{_hash_case(config, pair, device)}.json"
        self.stored = _read_timings(self.file)
        self.notes: list[str] = []

    @property
    def timings(self) -> dict[Execution, Timing]:
        """The known timings of executions that differ from the configured one in varied options alone."""
        return {key: timing for key, timing in self.stored.items() if self._list_differing(key) <= self.varied}

    def _list_differing(self, execution: Execution) -> set[str]:
        pairs = zip(Execution._fields, execution, self.configured, strict=True)
        return {name for name, value, configured in pairs if value != configured}

    def choose(self, batches: int) -> Choice:
        """Measure what is not known yet; return the execution with which `batches` batches take the shortest time.

        Raise what the configured execution raises, such as a lack of memory.
        """
        if not self.varied:
            return Choice(self.configured, "the options stay as they are: all of them are given")
        if batches < MIN_BATCHES:
            if self.configured in self.stored:
                return self._compare(batches)
            reason = f"measuring takes as long as the training of {MIN_BATCHES} batches"
            return Choice(self.configured, f"the options stay as they are: {reason}")
        known = len(self.stored)
        with torch.random.fork_rng([self.pair.lr.device] if self.pair.lr.device.type == "cuda" else []):
            self._measure_configured()
            if "channels_last" in self.varied:
                self._measure(self.configured._replace(channels_last=not self.configured.channels_last))
            if "precision" in self.varied:
                self._measure(self._find_fastest()._replace(precision=BF16))
            if "compile" in self.varied:
                self._measure_compiled(batches)
        if len(self.stored) > known:
            _write_timings(self.file, self.stored)
        return self._compare(batches)

    def _find_fastest(self) -> Execution:
        """Return the fastest execution that is compiled as the configured one is."""
        timings, configured = self.timings, self.configured.compile
        return min((key for key in timings if key.compile == configured), key=lambda key: timings[key].seconds)

    def _measure_compiled(self, batches: int) -> None:
        """Measure the compiled network, if the training is long enough for it."""
        fastest = self._find_fastest()
        seconds = self.stored[fastest].seconds * batches
        if seconds * MAX_COMPILE_GAIN < MIN_COMPILE_SECONDS:
            self.notes.append(f"compiling takes longer than it saves in about {max(1, round(seconds))} s of training")
        else:
            self._measure(fastest._replace(compile=True))

    def _measure_configured(self) -> None:
        """Measure the configured execution alone."""
        if self.configured not in self.stored:
            print("perf: measuring this network on this machine", file=sys.stderr)
            run, compile_seconds = self._prepare(self.configured)
            count = max(1, round(ROUND_SECONDS / _time(run, 1)))
            self.stored[self.configured] = Timing(median(_time(run, count) for _ in range(ROUNDS)), compile_seconds)

    def _measure(self, execution: Execution) -> None:
        """Measure an execution in turns with the configured one; one that fails or changes results gets a note."""
        if execution in self.stored:
            return
        typed = " ".join(execution.list_words(self.configured))
        try:
            run, compile_seconds = self._prepare(execution)
            result = _run_seeded(run)
        except Exception as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            self.notes.append(f"{typed} fails ({reason[:120]})")
            return
        reference, _ = self._prepare(self.configured)
        expected = _run_seeded(reference)
        if execution.precision == self.configured.precision and (difference := _find_difference(result, expected)):
            self.notes.append(f"{typed} changes {difference}")
            return
        count = max(1, round(ROUND_SECONDS / _time(run, 1)))
        ratio = median(
            _time(run, count) / _time(reference, count) for _ in range(ROUNDS)
        )  # the load of the machine changes
        self.stored[execution] = Timing(self.stored[self.configured].seconds * ratio, compile_seconds)

    def _prepare(self, execution: Execution) -> tuple[Callable[[], PassResult], float]:
        """Return a function that executes forward and backward pass once, and the seconds that compiling took."""
        net = copy.deepcopy(self.net)
        prepare_net(net, execution.channels_last, execution.compile)
        lr, hr = convert_batch(self.pair, execution.channels_last)

        def run() -> PassResult:
            net.zero_grad()
            with torch.autocast(lr.device.type, torch.bfloat16, enabled=execution.precision == BF16):
                sr = net(lr)
                loss = F.l1_loss(sr, hr)
            loss.backward()
            return PassResult(sr.detach(), [weight.grad for weight in net.parameters() if weight.grad is not None])

        first = _time(run, 1)
        return run, max(0.0, first - _time(run, WARM_UP)) if execution.compile else 0.0

    def _compare(self, batches: int) -> Choice:
        timings = self.timings
        totals = {key: batches * timing.seconds for key, timing in timings.items()}
        if not self.configured.compile:  # otherwise all are compiled
            totals = {key: seconds + timings[key].compile_seconds for key, seconds in totals.items()}
        best = min(totals, key=totals.__getitem__)
        if totals[best] > (1 - MIN_GAIN) * totals[self.configured]:
            notes = [f"no execution that was measured saves {MIN_GAIN:.0%} of the time", *self.notes]
            return Choice(self.configured, f"the options stay as they are: {'; '.join(notes)}")
        before, after = timings[self.configured].seconds, timings[best].seconds
        compiling = f"; compiling took {timings[best].compile_seconds:.0f} s" if best.compile else ""
        gain = (
            f"{before / after:.2f} times as fast (the network's forward and backward pass: {1000 * before:.3g} -> "
            f"{1000 * after:.3g} ms a batch{compiling})"
        )
        return Choice(best, f"{' '.join(best.list_words(self.configured))}: {'; '.join([gain, *self.notes])}")


def search_execution(config: dict[str, Any], changed: Collection[str], model: SRModule, data: SRDataModule) -> Choice:
    """Return the execution with which the training of a resolved config ends first, measured on its first batch.

    `changed` are the options that were typed or that the experiment sets.
    """
    trainer = config["trainer"]
    uses_gpu = trainer["accelerator"] in GPU_ACCELERATORS and torch.cuda.is_available()
    devices = trainer["devices"]  # a list holds the numbers of GPUs
    device = torch.device(f"cuda:{devices[0] if isinstance(devices, list) else 0}" if uses_gpu else "cpu")
    batches = trainer["max_steps"] * trainer["accumulate_grad_batches"] * config["model"].get("d_steps", 1)
    if trainer["max_steps"] < 0:
        batches = trainer["max_epochs"] * len(data.train_dataloader())
    pair = model.convert_color(data.draw_example())
    return ExecutionSearch(config, changed, model.net, pair, device).choose(batches)


def _run_seeded(run: Callable[[], PassResult]) -> PassResult:
    """Return the result with the same random numbers each time: some networks drop blocks at random."""
    torch.manual_seed(0)
    return run()


def _time(run: Callable[[], PassResult], count: int) -> float:
    """Return the mean seconds of `count` calls."""
    start = time.perf_counter()
    for _ in range(count):
        result = run()
    if result.image.device.type != "cpu":
        torch.accelerator.synchronize(result.image.device)
    return (time.perf_counter() - start) / count


def _find_difference(ours: PassResult, reference: PassResult) -> str:
    """Return how far result or gradients of a float32 execution are from the reference; empty within the bounds."""
    image = (ours.image - reference.image).abs().max().item()
    largest = max((gradient.abs().max().item() for gradient in reference.gradients), default=0.0) or 1.0
    pairs = zip(ours.gradients, reference.gradients, strict=True)
    gradient = max(((a - b).abs().max().item() for a, b in pairs), default=0.0) / largest
    if image <= IMAGE_BOUND and gradient <= GRADIENT_BOUND:
        return ""
    return f"float32 results by {image:.1g} and gradients by {gradient:.1%}"


def _hash_case(config: dict[str, Any], pair: Pair, device: torch.device) -> str:
    """Return the name under which timings are stored: net, batch, machine and versions."""
    machine = describe_machine()
    case = [
        config["model"]["net"], [list(image.shape) for image in pair], str(device), torch.get_num_threads(),
        str(torch.__version__), machine["cpu"], machine["cpus_usable"], machine["gpu"], machine["cudnn"],
        [str(config["trainer"][name]) for name in Execution._fields],
    ]  # fmt: skip
    return sha256(json.dumps(case, default=str).encode()).hexdigest()[:16]


def _read_timings(file: Path) -> dict[Execution, Timing]:
    """Return the stored timings; none if the file is missing or damaged."""
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
        return {Execution(*key): Timing(*map(float, timing)) for key, timing in rows}
    except (OSError, ValueError, TypeError):
        return {}


def _write_timings(file: Path, timings: dict[Execution, Timing]) -> None:
    """Store the timings; a folder that cannot be written costs the next start a measurement, no more."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(file, json.dumps([[list(key), list(timing)] for key, timing in timings.items()]).encode())
    except OSError as error:
        print(f"note: paths.cache={file.parents[1]}: what perf= measured is not stored ({error})", file=sys.stderr)
