"""A new command is a module, a YAML and a line in the docs; it can be outside the package, in the folder of --config-dir."""

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Answer

YAML = "defaults:\n  - run\n  - _self_\n\nlimit: 10   # images at most\n"
PYTHON = '''
from omegaconf import DictConfig

from sr.config import cli, schema


def main() -> None:
    cli.run_command("count", count)


def count(cfg: DictConfig) -> None:
    """Print two options."""
    config = schema.resolve_config(cfg)
    print(f"limit {config['limit']}, scale {config['scale']}")
'''


@pytest.fixture
def count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture) -> Any:
    """`count("limit=3", …)` runs a new command."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "count.yaml").write_text(YAML)
    (tmp_path / "mine" / "own_count.py").write_text(PYTHON)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path / "mine")

    def run(*words: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["count.py", "--config-dir", "mine", *words])
        code = 0
        try:
            importlib.import_module("own_count").main()
        except SystemExit as stop:
            code = stop.code or 0
        return Answer(code, *capfd.readouterr())

    yield run
    sys.modules.pop("own_count", None)


def test_a_command_gets_its_options(count: Any) -> None:
    assert count().out == "limit 10, scale 2\n"
    assert count("limit=3", "scale=4").out == "limit 3, scale 4\n"


def test_a_command_has_help_and_answers_errors(count: Any) -> None:
    answer = count("--help")
    assert answer.code == 0
    assert "Usage:  python -m sr.count" in answer.out
    assert "\n      bicubic, carn," in answer.out
    assert "\n  limit=10                      images at most\n" in answer.out
    for word, message in {"limt=3": 'Did you mean "limit"', "scale=5": "scale=5: expected one of 2, 3, 4, 8"}.items():
        answer = count(word)
        assert answer.code == 2
        assert message in answer.err
