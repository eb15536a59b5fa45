"""A part of one's own is two files, a YAML and a Python file, and the contract tests find it by themselves."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sr.config.cli import find_conf_dir

YAML = "_target_: tiny.Tiny\nscale: ${scale}\nchannels: ${channels}\nwidth: 4\n"
PYTHON = """
from torch import nn


class Tiny(nn.Sequential):
    def __init__(self, scale, channels, width):
        super().__init__(
            nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(),
            nn.Conv2d(width, channels * scale**2, 3, padding=1), nn.PixelShuffle(scale),
        )
        self.scale, self.channels, self.receptive_field = scale, channels, 5
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    (folder / "model" / "net").mkdir(parents=True)
    (folder / "model" / "net" / "tiny.yaml").write_text(YAML)
    (folder / "tiny.py").write_text(PYTHON)
    return folder


def pytest_says(*words: str) -> str:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        str(Path(__file__).with_name("test_conf.py")),
    ]
    done = subprocess.run([*command, *words], cwd=find_conf_dir().parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.slow
def test_the_number_of_tests_grows_with_no_other_edit(mine: Path) -> None:
    with_it = pytest_says("--collect-only", "--config-dir", str(mine))
    without = pytest_says("--collect-only")
    count = [int(re.search(r"(\d+) tests collected", text)[1]) for text in (with_it, without)]
    assert count[0] == count[1] + with_it.count("tiny") > count[1]


@pytest.mark.slow
def test_it_keeps_the_contract_and_runs_and_predicts(mine: Path, sr: Any, world: Path, tmp_path: Path) -> None:
    assert " passed" in pytest_says("--config-dir", str(mine), "-k", "tiny")
    words = ("data=folder", f"data.path={world}/photos", "data.patch=32", "trainer.max_steps=2", "track=none")
    assert sr("run", "--config-dir", str(mine), "model/net=tiny", *words).code == 0
    (checkpoint,) = (tmp_path / "runs").glob("*/best.ckpt")
    files = (f"checkpoint={checkpoint}", f"input={world}/small", "output=large")
    stranger = sr("predict", *files)
    assert stranger.code == 2
    assert "trust=[tiny]" in stranger.err
    assert sr("predict", *files, "trust=[tiny]").code == 0
    assert (tmp_path / "large" / "p0x2_x2.png").exists()


def test_a_mistake_in_ones_own_yaml_is_told_in_its_words(mine: Path, sr: Any) -> None:
    (mine / "model" / "net" / "tiny.yaml").write_text(YAML.replace("width", "wdth"))
    answer = sr("run", "--config-dir", str(mine), "model/net=tiny", "track=none")
    assert answer.code == 2
    assert 'no option "wdth"' in answer.err
    assert 'Did you mean "width"' in answer.err
