"""`sr.run -m` as it is typed: wrong sweeps are refused before anything trains, and an experiment may have a search space."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import pytest
from hydra import initialize_config_dir

from sr.config.schema import find_conf_dir
from sr.runtime.error import UserError
from sr.sweep import plan
from sr.sweep.plan import SweepPlan
from sr.sweep.space import list_points, split_overrides
from sr.sweep.trial_config import TrialComposer

EXPERIMENT = """# @package _global_
defaults:
  - override /model/net: espcn
  - override /sweep: tpe
scale: 3
sweep:
  trials: 7
  space:
    model.optimizer.lr: tag(log,interval(1e-4,1e-2))
    seed: [0, 1]
"""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["scale=2,5"], "scale=5: expected one of 2, 3, 4, 8"),
        (["model/net=espcn,edzr"], 'model/net=edzr: expected one of'),
        (["seed=0,1", "model.net.wdith=8,16"], 'Did you mean "model.net.width"'),
        (["seed=0,1", "sweep.objective=beauty"], "sweep.objective=beauty: expected one of psnr, ssim"),
        (["model.optimizer.lr=interval(1e-4,1e-2)"], "type sweep=tpe"),
        (["sweep=tpes", "seed=0,1"], 'sweep=tpes: expected one of cmaes, grid'),
        (["seed=0,1", "sweep.trails=3"], "sweep.trials"),
        (["sweep=tpe", "data.batch=interval(4,8)"], "data.batch=4.0: expected a whole number"),
        (["sweep=tpe", "model.optimizer.lr=interval(0,1)", "sweep.sampler.n_startup_trials=few"],
         "sweep.sampler.n_startup_trials=few: expected a whole number"),
        (["seed=range(0,1000000000)"], "found 1,000,000,000"),
    ],
)  # fmt: skip
def test_a_wrong_sweep_is_refused_before_anything_trains(
    sr: Callable, tmp_path: Path, words: list[str], message: str
) -> None:
    answer = sr("run", "-m", *words)
    assert answer.code == 2, answer.err
    assert message in answer.err
    assert "Traceback" not in answer.err
    assert not (tmp_path / "runs").exists()


def test_the_wrong_trial_is_named(sr: Callable) -> None:
    assert "(in the trial scale=5 seed=0; nothing was run)" in sr("run", "-m", "scale=2,5", "seed=0,1").err


def test_a_sweep_without_m_is_refused(sr: Callable) -> None:
    answer = sr("run", "sweep=tpe")
    assert (answer.code, "a sweep needs -m: python -m sr.run -m sweep=tpe" in answer.err) == (2, True)


@pytest.fixture
def read_sweep(sr: Callable, monkeypatch: pytest.MonkeyPatch) -> Callable[..., SweepPlan]:
    """Return a function that types a command and returns the plan of its sweep, which is not run."""

    def read(*words: str) -> SweepPlan:
        found: list[SweepPlan] = []
        monkeypatch.setattr(plan, "_run", found.append)
        answer = sr("run", "-m", *words)
        assert answer.code == 0, answer.err
        return found[0]

    return read


def test_an_experiment_has_a_search_space_that_typed_words_override(tmp_path: Path, read_sweep: Callable) -> None:
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "try.yaml").write_text(EXPERIMENT)
    words = ("--config-dir", f"{tmp_path}/mine", "experiment=try")
    found = read_sweep(*words)
    assert {key: str(value) for key, value in found.space.items()} == {
        "model.optimizer.lr": "tag(log,interval(0.0001,0.01))",
        "seed": "0,1",
    }
    assert found.settings["trials"] == 7
    assert found.config["scale"] == 3
    found = read_sweep(*words, "seed=5", "model.optimizer.lr=1e-3,1e-2,1e-1", "sweep.trials=3")
    assert {key: str(value) for key, value in found.space.items()} == {"model.optimizer.lr": "0.001,0.01,0.1"}
    assert (found.settings["trials"], found.config["seed"]) == (3, 5)


def test_a_changed_experiment_is_another_sweep(tmp_path: Path, read_sweep: Callable) -> None:
    file = tmp_path / "mine" / "experiment" / "try.yaml"
    file.parent.mkdir(parents=True)
    words = ("--config-dir", f"{tmp_path}/mine", "experiment=try", "seed=0,1", "sweep=grid", "model.optimizer.lr=1e-3")
    for text in (EXPERIMENT, EXPERIMENT.replace("scale: 3", "scale: 3\npatience: null  # a comment")):
        file.write_text(text)
        read_sweep(*words).define().store(tmp_path)
    file.write_text(EXPERIMENT.replace("scale: 3", "scale: 4"))
    with pytest.raises(UserError, match=r"other options \(scale 3 -> 4, "):
        read_sweep(*words).define().store(tmp_path)


def test_a_wrong_sweep_is_answered_without_large_libraries() -> None:
    code = "import sys; from sr.sweep import plan; print(sorted({'torch', 'pytorch_lightning', 'plotly'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_costs_are_measured_by_the_trials_if_they_are_objectives(read_sweep: Callable) -> None:
    found = read_sweep("seed=0,1", "sweep.objective=[psnr,ms_per_image]", "cost=[multiply_adds]")
    assert found.trial_words == ["cost=[multiply_adds]", "cost=[ms_per_image,multiply_adds]"]
    assert read_sweep("seed=0,1", "sweep.objective=[psnr,parameters]").trial_words == []


def compose_all(*words: str) -> list[dict[str, Any]]:
    fixed, space = split_overrides(words, is_grid=True)
    with initialize_config_dir(str(find_conf_dir()), version_base="1.3"):
        composer = TrialComposer(fixed, space)
        return [composer.compose(point) for point in list_points(space)]


def test_configs_of_trials_are_those_of_single_runs(compose: Callable, world: Path) -> None:
    """Values are set in a copy of the config of their groups, in any order of the two."""
    words = (f"paths.data={world}", "model.optimizer.lr=1e-3,1e-2", "model/net=espcn,edsr", "data.val=[Set5],[Set14]")
    configs = compose_all(*words)
    assert len(configs) == 8
    assert configs[6] == compose("model.optimizer.lr=1e-2", "model/net=edsr", "data.val=[Set5]")
    with pytest.raises(UserError, match=r"\(in the trial seed=0 model\.net\.wdith=8; nothing was run\)"):
        compose_all("seed=0,1", "model.net.wdith=8,16")


def test_hydra_composes_one_of_the_trials_of_the_same_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """The values of the others are set in a copy, which takes a quarter of the time."""
    compose, composed = hydra.compose, []

    def count(*args: Any, **options: Any) -> Any:
        composed.append(args)
        return compose(*args, **options)

    monkeypatch.setattr(hydra, "compose", count)
    assert len(compose_all("seed=range(0,20)")) == 20
    assert len(composed) == 1
