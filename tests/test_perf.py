"""`perf=auto` and `perf=fast`: which execution of the net is chosen, and that the run keeps it."""

import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

from sr.config.build import warn_of_slow_precision
from sr.config.execution import Execution
from sr.image.batch import Pair
from sr.net.plain import Plain
from sr.training import execution_search
from sr.training.execution_search import Choice, ExecutionSearch, Timing

CONFIGURED = Execution(channels_last=True, compile=False, precision="32-true")
COMPILED = CONFIGURED._replace(compile=True)
TIMINGS = {
    CONFIGURED: Timing(0.1),
    CONFIGURED._replace(channels_last=False): Timing(0.12),
    COMPILED: Timing(0.08, compile_seconds=20),
    CONFIGURED._replace(precision="bf16-mixed"): Timing(0.05),
    COMPILED._replace(precision="bf16-mixed"): Timing(0.04, compile_seconds=20),
}
WORDS = (
    "data=folder", "data.patch=32", "data.batch=2", "model.net.width=4", "model/schedule=constant", "data.test=[]",
    "trainer.accelerator=cpu", "trainer.val_check_interval=2", "trainer.max_steps=2", "track=none", "stages=[fit]",
)  # fmt: skip


class LayoutDependent(Plain):
    """A net with another result in another memory format, as a faulty kernel would have it."""

    def forward(self, lr: Tensor) -> Tensor:
        return super().forward(lr) + 1e-3 * lr.is_contiguous(memory_format=torch.channels_last)


@pytest.fixture(autouse=True)
def measure_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution_search, "has_fast_bf16", lambda device: True)
    monkeypatch.setattr(execution_search, "ROUNDS", 1)
    monkeypatch.setattr(execution_search, "ROUND_SECONDS", 0)


@pytest.fixture
def search(tmp_path: Path) -> Callable[..., ExecutionSearch]:
    def build(
        perf: str, changed: tuple[str, ...] = (), net: nn.Module | None = None, compile: bool = False
    ) -> ExecutionSearch:
        trainer = CONFIGURED._asdict() | {"compile": compile}
        config = {"perf": perf, "trainer": trainer, "model": {"net": {}}, "paths": {"cache": str(tmp_path / "cache")}}
        pair = Pair(torch.rand(2, 3, 16, 16), torch.rand(2, 3, 32, 32))
        return ExecutionSearch(config, changed, net or Plain(2, width=4, depth=2), pair, torch.device("cpu"))

    return build


@pytest.fixture
def choose(search: Callable[..., ExecutionSearch]) -> Callable[..., Choice]:
    """Return a function that chooses among executions whose timings are known."""

    def choose(perf: str, batches: int, *changed: str) -> Choice:
        searched = search(perf, changed)
        searched.stored = dict(TIMINGS)
        return searched.choose(batches)

    return choose


def test_compiling_has_to_pay(choose: Callable[..., Choice]) -> None:
    """It saves 0.02 s a batch and takes 20 s: after 1,000 batches it begins to pay."""
    assert choose("auto", 900).execution == CONFIGURED
    assert "the options stay as they are" in choose("auto", 900).reason
    assert choose("auto", 2000).execution == COMPILED
    assert choose("auto", 2000).reason.startswith("trainer.compile=true: 1.25 times as fast")


def test_only_fast_computes_in_bf16(choose: Callable[..., Choice]) -> None:
    assert choose("auto", 100_000).execution.precision == "32-true"
    assert choose("fast", 100).execution == CONFIGURED._replace(precision="bf16-mixed")
    assert choose("fast", 100_000).execution == COMPILED._replace(precision="bf16-mixed")


def test_typed_options_stay(choose: Callable[..., Choice]) -> None:
    assert choose("fast", 100_000, "trainer.compile", "trainer.precision").execution == CONFIGURED


@pytest.mark.parametrize("perf", ["auto", "fast"])
def test_executions_are_measured_once(search: Callable[..., ExecutionSearch], perf: str) -> None:
    measured = search(perf)
    measured.choose(batches=100)
    assert len(measured.stored) == {"auto": 2, "fast": 3}[perf]
    assert all(timing.seconds > 0 for timing in measured.stored.values())
    assert search(perf).stored == measured.stored


def test_a_damaged_file_of_timings_is_replaced(search: Callable[..., ExecutionSearch]) -> None:
    file = search("auto").file
    file.parent.mkdir(parents=True)
    file.write_text("[[")
    search("auto").choose(batches=100)
    assert len(json.loads(file.read_text())) == 2


def test_an_execution_that_changes_the_results_is_refused(search: Callable[..., ExecutionSearch]) -> None:
    searched = search("auto", net=LayoutDependent(2, width=4, depth=2))
    choice = searched.choose(batches=100)
    assert choice.execution == CONFIGURED
    assert "trainer.channels_last=false changes float32 results by 0.001" in choice.reason


class RandomlyDropped(Plain):
    """A net that is random in training, as those with stochastic depth."""

    def forward(self, lr: Tensor) -> Tensor:
        return super().forward(lr * torch.rand(len(lr), 1, 1, 1))


@pytest.mark.parametrize("perf", ["auto", "fast"])
def test_a_random_net_is_measured_with_the_same_random_numbers(
    search: Callable[..., ExecutionSearch], perf: str
) -> None:
    searched = search(perf, net=RandomlyDropped(2, width=4, depth=2))
    state = torch.get_rng_state()
    assert "changes" not in searched.choose(batches=100).reason
    assert CONFIGURED._replace(channels_last=False) in searched.stored
    assert torch.equal(torch.get_rng_state(), state)


def test_what_fails_without_perf_fails_with_it(
    search: Callable[..., ExecutionSearch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error of a batch that does not fit names the options of the training."""
    searched = search("auto")

    def refuse(lr: Tensor) -> Tensor:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(Plain, "forward", lambda net, lr: refuse(lr))
    with pytest.raises(RuntimeError, match="out of memory"):
        searched.choose(batches=100)


def test_a_compiled_execution_that_is_given_is_the_reference(
    search: Callable[..., ExecutionSearch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`perf=fast trainer.compile=true` varies memory format and precision of the compiled net."""
    monkeypatch.setattr(execution_search, "prepare_net", lambda *_: None)
    searched = search("fast", ("trainer.compile",), compile=True)
    searched.choose(batches=100)
    assert len(searched.stored) == 3
    assert all(execution.compile for execution in searched.stored)


def test_a_compiled_execution_is_not_chosen_for_compiling_faster(search: Callable[..., ExecutionSearch]) -> None:
    """The configured one is compiled first, which takes longer."""
    searched = search("auto", ("trainer.compile",), compile=True)
    slower = COMPILED._replace(channels_last=False)
    searched.stored = {COMPILED: Timing(0.010, compile_seconds=20), slower: Timing(0.011, compile_seconds=10)}
    assert searched.choose(batches=1000).execution == COMPILED


def test_a_short_training_takes_what_is_known(search: Callable[..., ExecutionSearch]) -> None:
    searched = search("fast")
    searched.stored = {CONFIGURED: TIMINGS[CONFIGURED]}
    searched.choose(batches=1)
    assert len(searched.stored) == 1
    searched.stored = dict(TIMINGS)
    assert searched.choose(batches=1).execution.precision == "bf16-mixed"


@pytest.mark.parametrize(
    ("changed", "batches", "reason"),
    [
        ((), 99, "measuring takes as long as the training of 100 batches"),
        (("trainer.channels_last", "trainer.compile"), 10**6, "all of them are given"),
    ],
)
def test_nothing_is_measured_in_vain(
    search: Callable[..., ExecutionSearch], changed: tuple[str, ...], batches: int, reason: str
) -> None:
    searched = search("auto", changed)
    assert searched.choose(batches) == Choice(CONFIGURED, f"the options stay as they are: {reason}")
    assert not searched.stored


def test_bf16_is_not_measured_without_instructions_for_it(
    search: Callable[..., ExecutionSearch], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution_search, "has_fast_bf16", lambda device: False)
    searched = search("fast")
    searched.choose(batches=100)
    assert all(execution.precision == "32-true" for execution in searched.stored)


def test_a_compiler_that_is_missing_is_named(
    search: Callable[..., ExecutionSearch], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(net: nn.Module, channels_last: bool, compile: bool) -> None:
        if compile:
            raise RuntimeError("no C++ compiler was found")

    monkeypatch.setattr(execution_search, "prepare_net", refuse)
    choice = search("auto", ("trainer.channels_last",)).choose(batches=10**6)
    assert choice.execution == CONFIGURED
    assert "trainer.compile=true fails (no C++ compiler was found)" in choice.reason


@pytest.mark.long
def test_a_compiled_net_is_measured(search: Callable[..., ExecutionSearch]) -> None:
    searched = search("auto", ("trainer.channels_last",))
    searched.choose(batches=10**7)
    assert searched.stored[COMPILED].compile_seconds > 0


def read_trainer(folder: Path) -> dict[str, Any]:
    return yaml.safe_load((folder / "config.yaml").read_text())["trainer"]


def test_measuring_leaves_the_training_as_it_is(
    sr: Any, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution_search, "MIN_BATCHES", 0)
    for perf in ("plain", "auto"):
        answer = sr("run", *WORDS, f"data.path={world}/photos", f"perf={perf}", "trainer.channels_last=true")
        assert answer.code == 0, answer.err
        assert (f"perf={perf}: the options stay as they are: no execution" in answer.out) == (perf == "auto")
    plain, auto = (torch.load(path / "last.ckpt", weights_only=True) for path in sorted((tmp_path / "runs").iterdir()))
    assert all(torch.equal(plain["state_dict"][name], weight) for name, weight in auto["state_dict"].items())


@pytest.mark.slow
def test_a_resumed_run_keeps_the_choice(sr: Any, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = CONFIGURED._replace(channels_last=False)
    monkeypatch.setattr(ExecutionSearch, "choose", lambda *_: Choice(chosen, "for this test"))
    assert sr("run", *WORDS, f"data.path={world}/photos", "perf=auto").code == 0
    (run,) = (tmp_path / "runs").iterdir()
    assert not read_trainer(run)["channels_last"]
    monkeypatch.setattr(ExecutionSearch, "choose", lambda *_: pytest.fail("measured again"))
    answer = sr("run", f"resume={run}", "trainer.max_steps=3")
    assert (answer.code, "perf" in answer.out) == (0, False), answer.err
    assert not read_trainer(run)["channels_last"]
    answer = sr("run", f"resume={run}", "trainer.max_steps=4", "perf=plain")
    assert answer.code == 0, answer.err
    assert "resume: trainer.channels_last false -> true" in answer.out
    assert read_trainer(run)["channels_last"]


@pytest.mark.parametrize(
    ("precision", "is_supported", "is_noted"),
    [("bf16-mixed", False, True), ("bf16-mixed", True, False), ("32-true", False, False)],
)
def test_bf16_on_a_cpu_without_instructions_for_it_is_noted(
    precision: str, is_supported: bool, is_noted: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: is_supported)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    warn_of_slow_precision({"precision": precision, "accelerator": "cpu"})
    assert ("note: trainer.precision=bf16-mixed" in capsys.readouterr().err) == is_noted
