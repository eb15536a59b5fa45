"""A part of the user's own is two files, a YAML and a Python file, and the contract tests find it.

The parts are the examples of README.md and docs/extend.md: a network, a loss, a metric and a data source.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from documents import write_files

from sr.config.cli import find_conf_dir

PARTS = ("tiny", "quartic", "worst", "listed")
WORDS = (
    "model/net=tiny",
    "model/loss=[l1,quartic]",
    "metric/also=[worst]",
    "data=folder",
    "data.patch=32",
    "data.batch=2",
)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A folder for --config-dir."""
    write_files(tmp_path)
    return tmp_path / "mine"


def run_contract_tests(*words: str) -> str:
    """Run pytest on the contract tests in a process of its own; return what it prints."""
    files = map(str, Path(__file__).parent.glob("test_conf*.py"))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files, *words]
    done = subprocess.run(command, cwd=find_conf_dir().parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.long
def test_contract_tests_find_each_part_without_another_edit(mine: Path) -> None:
    every_test = ("--collect-only", "-m", "slow or not slow")
    with_parts = run_contract_tests(*every_test, "--config-dir", str(mine))
    without = run_contract_tests(*every_test)
    with_count, count = (int(re.search(r"(\d+) tests collected", text)[1]) for text in (with_parts, without))
    own_tests = {part: len(re.findall(rf"\[(?:.*-)?{part}(?:-.*)?\]", with_parts)) for part in PARTS}
    assert with_count == count + sum(own_tests.values())
    assert all(own_tests.values())


@pytest.mark.slow
def test_parts_fulfil_the_contract(mine: Path) -> None:
    assert " passed" in run_contract_tests(
        "--config-dir", str(mine), "-k", " or ".join(PARTS[:3])
    )  # `listed` needs a file


@pytest.mark.slow
def test_parts_are_used_in_training_and_prediction(mine: Path, sr: Any, world: Path, tmp_path: Path) -> None:
    short = (f"data.path={world}/photos", "trainer.max_steps=2", "track=none")
    assert sr("run", "--config-dir", str(mine), *WORDS, *short).code == 0
    (run,) = (tmp_path / "runs").iterdir()
    assert "test/folder/worst" in json.loads((run / "summary.json").read_text(encoding="utf-8"))["metrics"]
    files = (f"checkpoint={run}/best.ckpt", f"input={world}/small", "output=large")
    refused = sr("predict", *files)
    assert refused.code == 2
    assert "trust=[tiny]" in refused.err
    assert sr("predict", *files, "trust=[tiny]").code == 0
    assert (tmp_path / "large" / "p0x2_x2.png").exists()


def test_a_mistake_in_a_yaml_of_ones_own_is_named(mine: Path, sr: Any) -> None:
    file = mine / "model" / "net" / "tiny.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("width", "wdth"), encoding="utf-8")
    answer = sr("run", "--config-dir", str(mine), "model/net=tiny", "track=none")
    assert answer.code == 2
    assert 'no option "wdth"' in answer.err
    assert 'Did you mean "width"' in answer.err
