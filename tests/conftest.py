"""What tests share: the command line in this very process, small data of their own, the real images where they are."""

import copy
import gc
import json
import os
import pickle
import sys
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hydra.core.hydra_config import HydraConfig
from PIL import Image

from sr.config import schema
from sr.config.cli import find_conf_dir
from sr.runtime import torchvision_shim
from sr.runtime.signals import signals

gc.disable()  # until everything is imported: a collection of a million objects takes a quarter of a second
torchvision_shim.install()  # tests import Lightning, torchmetrics and spandrel themselves

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two test processes on two cores
for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_ID"):
    os.environ.pop(name, None)


STAND_INS = ("T91", "BSDS500/train", "BSDS500/test", "DIV2K/train/HR", "Set14", "BSD100", "Urban100", "Manga109")


class Answer(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--config-dir", help="contract tests for your own parts too: the DIR that you give to sr.run")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "group(name, long=()): run the test for every YAML of this config group; some of them are `long`"
    )
    config.addinivalue_line("markers", "slow(seconds): left out of make test; make slow runs these alone")
    config.addinivalue_line("markers", "long: left out of make slow and of CI as well; make long runs these alone")
    if config.getoption("--config-dir"):
        sys.path.insert(0, str(Path(config.getoption("--config-dir")).resolve()))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the longest tests, `slow(seconds)`, first in what each process of `--dist worksteal` begins with.

    It divides the list into one part for each process, and at the end takes tests from the processes that have most left.
    """
    processes = getattr(config, "workerinput", {}).get("workercount", 1)
    long = sorted(filter(get_seconds, items), key=get_seconds, reverse=True)
    rest = [item for item in items if not get_seconds(item)]
    bounds = [k * len(items) // processes for k in range(processes + 1)]
    items.clear()
    for k in range(processes):
        first = long[k::processes]
        count = bounds[k + 1] - bounds[k] - len(first)
        items += first + rest[:count]
        del rest[:count]
    items += rest


def get_seconds(item: pytest.Item) -> float:
    """Return how long a slow test takes, or 0 if it is not marked with a time."""
    marker = item.get_closest_marker("slow")
    return marker.args[0] if marker and marker.args else 0


def pytest_collection_finish() -> None:
    """Leave the objects that exist before the first test out of every garbage collection."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def quick_start() -> Iterator[None]:
    """Start runs faster, which is most of the work of many tests: parse a YAML file once, measure the CPU for an instant.

    Hydra collects all choices again for each file, which it needs only for a file whose defaults list has a `${…}`.
    """
    from hydra._internal import defaults_list
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from omegaconf import OmegaConf

    from sr.record import machine

    load, parsed = OmegaConf.load, {}

    def load_once(file: Any) -> Any:
        path = Path(file if isinstance(file, str | Path) else file.name)
        key = (path.resolve(), path.stat().st_mtime_ns, path.stat().st_size)
        if key not in parsed:
            parsed[key] = load(file)
        return copy.deepcopy(parsed[key])

    collect_choices = defaults_list._create_interpolation_map

    def collect_needed_choices(overrides: Any, defaults: list[Any], self_added: bool) -> Any:
        return collect_choices(overrides, defaults, self_added) if any(d.is_interpolation() for d in defaults) else None

    merge_files, merged = ConfigLoaderImpl._compose_config_from_defaults_list, {}

    def merge_files_once(self: ConfigLoaderImpl, defaults: list[Any], repo: Any) -> Any:
        sources = {source.provider: source.path for source in repo.get_sources()}
        if sources.pop("main", None) != str(find_conf_dir()) or set(sources) != {"hydra", "schema"}:
            return merge_files(self, defaults, repo)  # with a user's own files, which may change
        key = str(defaults)
        if key not in merged:
            merged[key] = pickle.dumps(merge_files(self, defaults, repo))
        return pickle.loads(merged[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OmegaConf, "load", staticmethod(load_once))
        patch.setattr(ConfigLoaderImpl, "_compose_config_from_defaults_list", merge_files_once)
        patch.setattr(defaults_list, "_create_interpolation_map", collect_needed_choices)
        patch.setattr(machine, "SPEED_SECONDS", 0)
        yield


@pytest.fixture
def sender_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of this test send to MLflow in a thread of this process; see `sender_thread.py`."""
    from sender_thread import SenderThread

    monkeypatch.setattr("sr.track.mlflow.start_sender", SenderThread)
    for command in ("run", "evaluate"):
        monkeypatch.setattr(f"sr.{command}.prepare_sender", lambda track: None)


@pytest.fixture(scope="session")
def sr_data() -> Path:
    """The folder of real images."""
    if not os.environ.get("SR_DATA"):
        pytest.skip("SR_DATA is not set: needs the real images")
    return Path(os.environ["SR_DATA"]).resolve()


@pytest.fixture(autouse=True)
def forget_command() -> Iterator[None]:
    """Clear what Hydra and the signal handler know of the last command: the next test in this process is no part of it."""
    yield
    HydraConfig.instance().cfg = None
    signals.received = None


@pytest.fixture
def sr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture) -> Callable[..., Answer]:
    """`sr("run", "scale=3", …)` types a verb's command line, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SR_RUNS", str(tmp_path / "runs"))

    def command(name: str, *words: str) -> Answer:
        monkeypatch.setattr(sys, "argv", [f"sr-{name}", *words])
        code = 0
        try:
            import_module(f"sr.{name}").main()
        except SystemExit as stop:
            code = stop.code or 0
        return Answer(code, *capfd.readouterr())

    return command


def wait_for(condition: Callable[[], Any], seconds: float = 300) -> Any:
    """Wait until `condition()` is true and return what it returns; `seconds` are for a machine that is slow and busy."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)
    return found


def write_image(path: Path, height: int = 48, width: int = 56, seed: int = 0, mode: str = "RGB") -> Path:
    """Write a small image with some structure to a file; return its path."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).convert(mode)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `paths.data` with a bit of everything: a folder, pairs ×2, Set5, CIFAR-10 in its binary layout, and three
    pictures for each set that recipes train on or measure."""
    root = tmp_path_factory.mktemp("world")
    for k in range(4):
        hr = write_image(root / "photos" / f"p{k}.png", seed=k)
        write_image(root / "Set5" / "HR" / f"s{k}.png", seed=k + 10)
        with Image.open(hr) as image:
            (root / "small").mkdir(exist_ok=True)
            image.resize((28, 24)).save(root / "small" / f"p{k}x2.png")
    for seed, name in enumerate(STAND_INS):
        for k in range(3):
            write_image(root / name / f"p{k}.png", seed=20 + 3 * seed + k)
    (root / "cifar-10-batches-bin").mkdir()
    rng = np.random.default_rng(0)
    for name, count in (("data_batch_1", 100), ("test_batch", 20)):
        rng.integers(0, 256, (count, 3073), dtype=np.uint8).tofile(root / "cifar-10-batches-bin" / f"{name}.bin")
    return root


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marker = metafunc.definition.get_closest_marker("group")
    if marker:
        extra = metafunc.config.getoption("--config-dir")
        places = [find_conf_dir(), *([Path(extra)] if extra else [])]
        found = sorted({p.stem for place in places for p in (place / marker.args[0]).glob("[!_]*.yaml")})
        long = marker.kwargs.get("long", ())
        choices = [pytest.param(name, marks=pytest.mark.long) if name in long else name for name in found]
        metafunc.parametrize("choice", choices)


@pytest.fixture(scope="session")
def compose(pytestconfig: pytest.Config, world: Path) -> Any:
    """`compose("model=gan", …)` gives the checked, plain config; `compose.choices` what was chosen; `compose.net("edsr",
    scale, channels, …)` the config of a net alone."""
    import hydra
    from omegaconf import OmegaConf

    extra = pytestconfig.getoption("--config-dir")
    search = [f"hydra.searchpath=[file://{Path(extra).resolve()}]"] if extra else []

    def composed(*words: str, name: str = "run") -> dict[str, Any]:
        words += (zoo(world),) if "model/net=spandrel" in words else ()
        with hydra.initialize_config_dir(str(find_conf_dir()), version_base="1.3"):
            cfg = hydra.compose(name, [f"paths.data={world}", *words, *search], return_hydra_config=True)
        composed.choices = dict(cfg.hydra.runtime.choices)
        plain = OmegaConf.to_container(cfg)
        del plain["hydra"]
        return schema.resolve_config(OmegaConf.create(plain), composed.choices)

    @lru_cache
    def alone(name: str, *words: str) -> Any:
        words += (zoo(world),) if name == "spandrel" else ()
        theirs = extra and (Path(extra) / "model" / "net" / f"{name}.yaml").exists()
        with hydra.initialize_config_dir(str(Path(extra).resolve() if theirs else find_conf_dir()), version_base="1.3"):
            return hydra.compose(f"model/net/{name}", list(words))

    def net(name: str, scale: int, channels: int, *words: str) -> dict[str, Any]:
        known = OmegaConf.merge({"scale": scale, "channels": channels}, alone(name, *words))
        return OmegaConf.to_container(known.model.net, resolve=True)

    composed.net = net
    return composed


@pytest.fixture
def build() -> Any:
    """`sr.config.build`, imported late: collecting tests must not cost seconds."""
    return import_module("sr.config.build")


def zoo(world: Path) -> str:
    """Weights of a tiny net that spandrel knows (Compact) for each scale and channel count; the dial that names them."""
    pytest.importorskip("spandrel", reason="spandrel is not installed: pip install 'sr[zoo]'")
    from torch import nn, save

    for s, c in product(schema.SCALES, (1, 3, 4)):
        body = nn.Sequential(nn.Conv2d(c, 4, 3), nn.PReLU(4), nn.Conv2d(4, c * s * s, 3))
        save(nn.ModuleDict({"body": body}).state_dict(), world / f"zoo_x{s}c{c}.pth")
    return f"model.net.file='{world}/zoo_x${{scale}}c${{channels}}.pth'"


@pytest.fixture(scope="session")
def photos() -> Callable[[str], Image.Image]:
    """Photographs that scikit-image carries."""
    import skimage

    where = Path(skimage.__file__).parent / "data"

    def photo(name: str) -> Image.Image:
        with Image.open(where / name) as image:
            return image.convert("RGB")

    return photo


@pytest.fixture
def inspect(sr: Any, tmp_path: Path) -> Callable[..., tuple[int, dict[str, list[dict[str, Any]]], str]]:
    """Types the command; gives (exit code, items by kind of finding, what was printed)."""

    def command(*words: str) -> tuple[int, dict[str, list[dict[str, Any]]], str]:
        answer = sr("inspect", f"paths.data={tmp_path}/sets", *words)
        assert answer.code in (0, 1), answer.err
        whole = json.loads((tmp_path / "inspect.json").read_text(encoding="utf-8"))
        assert whole["has_errors"] == bool(answer.code)
        found: dict[str, list[dict[str, Any]]] = {}
        for finding in whole["findings"]:
            assert finding["count"] == len(finding["items"])
            assert finding["todo"] in answer.out
            found.setdefault(finding["kind"], []).extend(finding["items"])
        return answer.code, found, answer.out

    return command
