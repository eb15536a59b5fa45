"""What tests share: the command line in this very process, small data of their own, the real images where they are."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two test processes on two cores
os.environ.pop("MLFLOW_TRACKING_URI", None)


class Answer(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--config-dir", help="contract tests for your own parts too: the DIR that you give to sr.run")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "group(name): run the test for every YAML of this config group")
    if config.getoption("--config-dir"):
        sys.path.insert(0, str(Path(config.getoption("--config-dir")).resolve()))


@pytest.fixture(scope="session")
def sr_data() -> Path:
    """The folder of real images."""
    if not os.environ.get("SR_DATA"):
        pytest.skip("SR_DATA is not set: needs the real images")
    return Path(os.environ["SR_DATA"]).resolve()


@pytest.fixture
def sr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture) -> Callable[..., Answer]:
    """`sr("run", "scale=3", …)` types a verb's command line, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SR_RUNS", str(tmp_path / "runs"))

    def command(name: str, *words: str) -> Answer:
        from importlib import import_module

        monkeypatch.setattr(sys, "argv", [f"sr-{name}", *words])
        code = 0
        try:
            import_module(f"sr.{name}").main()
        except SystemExit as stop:
            code = stop.code or 0
        return Answer(code, *capfd.readouterr())

    return command


def picture(path: Path, height: int = 48, width: int = 56, seed: int = 0, mode: str = "RGB") -> Path:
    """A small picture with some structure, as a file."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).convert(mode)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `paths.data` with a bit of everything: a folder, pairs ×2, Set5, CIFAR-10 in its binary layout."""
    root = tmp_path_factory.mktemp("world")
    for k in range(4):
        hr = picture(root / "photos" / f"p{k}.png", seed=k)
        picture(root / "Set5" / "HR" / f"s{k}.png", seed=k + 10)
        with Image.open(hr) as image:
            (root / "small").mkdir(exist_ok=True)
            image.resize((28, 24)).save(root / "small" / f"p{k}x2.png")
    (root / "cifar-10-batches-bin").mkdir()
    rng = np.random.default_rng(0)
    for name, count in (("data_batch_1", 100), ("test_batch", 20)):
        rng.integers(0, 256, (count, 3073), dtype=np.uint8).tofile(root / "cifar-10-batches-bin" / f"{name}.bin")
    return root
