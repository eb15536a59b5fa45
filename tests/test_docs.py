"""What README.md, docs/ and experiments/ say is so: commands run, and messages, files, links and choices exist."""

import json
import re
import shutil
import sys
import tomllib
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Answer, write_image
from documents import PAGES, ROOT, STUDIES, Command, list_blocks, list_commands, list_messages, write_files
from omegaconf import OmegaConf
from PIL import Image
from scenes import make_bands, write_scene
from test_conf import small
from volumes import make_voxels, write_series, write_volume

from sr.config import schema
from sr.config.cli import find_conf_dir
from sr.config.signature import find_wrong_values

OURS = [command for command in list_commands(PAGES) if command.name]
OTHERS = [command for command in list_commands(PAGES) if not command.name]
RUN = {command.text: command for command in OURS}.values()  # each once, on however many pages it is
STUDIED = [c for c in list_commands(STUDIES, inline=True) if c.name and not re.search(r"run experiment=\w+$", c.text)]

TINY = ("data=folder", "data.path=photos", "data.patch=48", "trainer.accelerator=cpu", "trainer.max_steps=2")
SHORT = {
    "data.batch": 2, "data.patch": 48, "data.repeat": 2, "data.exclude": "[]", "model.warmup_steps": 1,
    "model.discriminator.width": 4, "trainer.max_steps": 2, "trainer.val_check_interval": 2, "trainer.accelerator": "cpu",
}  # fmt: skip
# Commands that download something, or whose run is tested elsewhere and takes minutes: their options are checked only.
NOT_RUN = (r"perceptual|lpips|dists", r"experiment=", r"trainer=ddp", r"track\.uri=", r"sr\.reproduce \S+$", r"--help",
           r"sweep/pool=", r"sr\.serve")  # fmt: skip
LONG = (
    r"sweep=nsga2",
    r"sweep=tpe",
    r"model/net=espcn,fsrcnn seed",
    r"--speed",
    r"dtype=uint8",
    r"model/net=rrdb",
    r"seed=0,1,2 model/loss",
    r"=wgan",
    r"=relativistic",
)  # left out of CI
# What a command reads that another one, perhaps in another process of the tests, makes.
MADE_BEFORE = {
    "checkpoint=levels.onnx": ("export", "checkpoint=best.ckpt", "exporter.dtype=uint8", "output=levels.onnx", "overwrite=true")
}  # fmt: skip
EXIT_CODES = {"inspect": (0, 1), "verify": (0, 1), "reproduce": (0, 3)}
FOREIGN_MESSAGES = ("shell: no matches found", "make lint")


def name_test(command: Command) -> str:
    return f"{command.page.relative_to(ROOT).with_suffix('')}: {command.text.removeprefix('python -m ')[:70]}"


def type_command(folder: Path, name: str, *words: str) -> None:
    """Run a command of sr in `folder`, where the fixture `sr` cannot be used."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", [f"sr-{name}", *words])
        import_module(f"sr.{name}").main()


def train(folder: Path, *words: str) -> Path:
    """Train two steps in `folder` and return the best checkpoint."""
    type_command(folder, "run", *TINY, "data.batch=2", *words)
    return max(folder.glob("*/*/best.ckpt"), key=lambda path: path.stat().st_mtime)


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory, world: Path) -> Path:
    """A folder with what the documents name: images, examples, checkpoints, and a finished run in `runs`."""
    folder = tmp_path_factory.mktemp("desk")
    write_image(folder / "photo.jpg")
    for name, target in {"photos": "photos", "large": "photos", "small": "small", "results": "Set5/HR"}.items():
        (folder / name).symlink_to(world / target)
    (world / "scans" / "HR").mkdir(parents=True)
    scan = np.random.default_rng(0).integers(0, 65536, (48, 40), dtype=np.uint16)
    Image.fromarray(scan).save(world / "scans" / "HR" / "a.png")
    for k in range(25):
        write_image(folder / "clips" / "hall" / f"{k:03d}.png", seed=k // 20)
    write_image(folder / "portraits" / "a.png", 208, 200)
    write_image(folder / "lr" / "a.png", 104, 100)
    if find_spec("pydicom"):
        from pydicom.data import get_testdata_file

        (folder / "series").mkdir()
        for name, target in {"MR_small.dcm": "series/a.dcm", "CT_small.dcm": "CT.dcm"}.items():
            shutil.copy(get_testdata_file(name, download=False), folder / target)
        write_series(folder / "mr", make_voxels((12, 56, 52)))
    if find_spec("rasterio"):
        import rasterio

        shape = {"count": 4, "height": 24, "width": 20, "dtype": "uint16", "nodata": 0}
        with rasterio.open(folder / "scene.tif", "w", driver="GTiff", crs="EPSG:32632", **shape) as scene:
            scene.write(np.random.default_rng(0).integers(0, 999, (4, 24, 20), dtype=np.uint16))
        for k in range(3):
            write_scene(folder / "scenes" / f"s{k}.tif", make_bands(seed=k))
    if find_spec("nibabel"):
        import nibabel

        write_volume(folder / "brains" / "a.nii.gz", make_voxels((12, 56, 52)))

        volume = np.random.default_rng(0).integers(0, 999, (24, 20, 3), dtype=np.int16)
        for name in ("T1.nii.gz", "T2.nii"):
            nibabel.save(nibabel.Nifti1Image(volume, np.diag([1, 1, 4, 1])), folder / name)
    if find_spec("av"):
        from clips import write_clip

        write_clip(folder / "clip.mp4", "libx264", "yuv420p", range(4), has_audio=True)
    (folder / "photos.txt").write_text("".join(f"photos/p{k}.png\n" for k in range(4)))
    write_files(folder)
    best = train(folder, "track=journal", "paths.runs=runs")
    for name in ("best.ckpt", "CNN.ckpt", "GAN.ckpt", "IMDN_x4.pth", "vdsr_official.npz"):
        (folder / name).write_bytes(best.read_bytes())
    return folder


@pytest.fixture(scope="session")
def whole_desk(desk: Path, world: Path) -> Path:
    """The same with real content where `desk` has only a file of that name, an evaluation, and a run in MLflow."""
    from torch import save

    from sr.net.imdn import IMDN
    from sr.net.vdsr import VDSR

    save(IMDN(scale=4).state_dict(), desk / "IMDN_x4.pth")
    layers = [layer for layer in VDSR(scale=4).modules() if hasattr(layer, "kernel_size")]
    np.savez(desk / "vdsr_official.npz", **{f"w{k:02}": layer.weight.detach().numpy() for k, layer in enumerate(layers)},
             **{f"b{k:02}": layer.bias.detach().numpy() for k, layer in enumerate(layers)})  # fmt: skip
    best = train(desk, "model/net=rrdb", *small("rrdb"), "scale=4", "track=none", "paths.runs=others")
    for name in ("CNN.ckpt", "GAN.ckpt"):
        (desk / name).write_bytes(best.read_bytes())
    if find_spec("rasterio"):
        bands = (
            "data=geotiff",
            "data.path=scenes",
            "color=bands",
            "channels=4",
            "data.range=[0,5000]",
            "metric.depth=16",
        )
        type_command(desk, "run", *bands, *TINY[2:], "data.batch=2", "track=none", "paths.runs=bands")
        (best,) = desk.glob("bands/*/best.ckpt")
        (desk / "bands.ckpt").write_bytes(best.read_bytes())
    type_command(
        desk,
        "evaluate",
        "checkpoint=best.ckpt",
        "data.test=[Set5]",
        f"paths.data={world}",
        "track=none",
        "paths.runs=others",
    )
    (desk / "other").mkdir()
    shutil.copy(*desk.glob("others/*/evaluate.json"), desk / "other")
    type_command(desk, "register", str(min(desk.glob("runs/*/run.json")).parent), "paths.runs=runs")
    train(desk, "track=mlflow", "paths.runs=runs")
    return desk


@pytest.fixture
def enter(desk: Path, sr: Any, world: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answer]:
    """`enter(command, *more)` types a documented command in the desk's folder, with what `…` and RUN_ID stand for."""
    monkeypatch.chdir(desk)
    monkeypatch.setenv("SR_RUNS", "runs")
    monkeypatch.setenv("SR_DATA", str(world))
    monkeypatch.setattr(sys, "path", [*sys.path])

    def run_in_desk(command: Command, *more: str) -> Answer:
        runs = sorted(path.parent for path in Path("runs").glob("*/run.json"))
        ids = [json.loads((run / "run.json").read_text(encoding="utf-8"))["run_id"] for run in runs]
        run_id = next((run_id for run_id in ids if run_id), "RUN_ID")
        words = [word.replace("runs/…", str(runs[0])).replace("RUN_ID", run_id) for word in command.words[3:]]
        return sr(command.name, *words, *more)

    return run_in_desk


def compose(command: Command, enter: Any) -> Any:
    """Compose the config of a documented command, of a sweep that of the first run, as `--cfg job` does."""
    program, _, words = command.text.partition(f"sr.{command.name}")
    if words.startswith(" -m ") and command.name != "run":  # a sweep of Hydra, which would print all configs
        words = re.sub(r"(?<==)([\w.]+)(,[\w.]+)+(?= |$)", r"\1", words.removeprefix(" -m"))
    words = re.sub(r" (--info|--dry|--help)(?= |$)", "", words)
    answer = enter(command._replace(text=f"{program}sr.{command.name}{words}"), "--cfg=job")
    assert answer.code == 0, answer.err
    return OmegaConf.create(answer.out)


def check_options(command: Command, enter: Any) -> None:
    """Groups, choices and options of a command exist, and the classes take them."""
    cfg = compose(command, enter)
    if command.name in ("run", "inspect"):
        schema.resolve_config(cfg)
    else:
        known = {"scale": 2, "color": "rgb", "channels": 3}  # which a checkpoint brings otherwise
        cfg.update({name: value for name, value in known.items() if name in cfg and cfg[name] is None})
        for wrong in find_wrong_values(OmegaConf.to_container(cfg, resolve=True)):
            pytest.fail(wrong.message)


def test_readme_is_one_page() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


@pytest.mark.parametrize("command", OURS, ids=name_test)
def test_command_is_accepted(command: Command, enter: Any) -> None:
    check_options(command, enter)


@pytest.mark.slow
@pytest.mark.parametrize("command", STUDIED, ids=name_test)
def test_command_of_a_study_is_accepted(command: Command, enter: Any) -> None:
    check_options(command, enter)


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(c, marks=pytest.mark.long if re.search("|".join(LONG), c.text) else pytest.mark.slow)
        for c in RUN
        if not re.search("|".join(NOT_RUN), c.text)
    ],
    ids=name_test,
)
def test_command_runs(command: Command, whole_desk: Path, enter: Any) -> None:
    """On small images and for a few steps."""
    cfg, more = compose(command, enter), []
    if command.name == "run" and "--info" not in command.words:
        resumed = "resume=runs" in command.text
        more = [
            f"{key}={value}" for key, value in SHORT.items() if OmegaConf.select(cfg, key) is not None and not resumed
        ]
        more += ["trainer.max_steps=6"] if resumed else []
        more += [word for net in re.findall(r"model/net=(\w+)", command.text) for word in small(net)]
    if command.name in ("run", "evaluate") and not re.search(r"track=|mlflow:|resume=runs", command.text):
        more += ["track=journal"]
    for name, *words in (made for word, made in MADE_BEFORE.items() if word in command.words):
        type_command(whole_desk, name, *words)
    shutil.rmtree("upscaled", ignore_errors=True)
    for result in Path().glob("photo_*x*"):
        result.unlink()
    answer = enter(command, *more)
    assert answer.code in EXIT_CODES.get(command.name, (0,)), answer.err


@pytest.mark.parametrize("command", OTHERS, ids=name_test)
def test_command_of_another_program_names_what_exists(command: Command) -> None:
    program, *words = command.words
    if program == "make":
        assert f"\n{words[0]}: .venv/ready  ##" in (ROOT / "Makefile").read_text(encoding="utf-8")
    elif program == "pip":
        assert (ROOT / words[words.index("--constraint") + 1]).exists()
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        assert words[-1] == "." or words[-1][2:-1] in project["optional-dependencies"]
    elif program == "curl":  # run by tests/test_serve.py
        (address,) = (word for word in words if word.startswith("http://127.0.0.1:8000/"))
        assert f'Route("{address.removeprefix("http://127.0.0.1:8000").partition("?")[0]}"' in (
            ROOT / "sr/serving/app.py"
        ).read_text(encoding="utf-8")
    elif words[:2] == ["-m", "pytest"]:
        assert (ROOT / words[2]).is_dir()
    else:
        assert command.text in ("python3 -m venv .venv", ". .venv/bin/activate", "export SR_DATA=data")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_brackets_are_quoted_for_every_shell(page: Path) -> None:
    """An unquoted bracket is a pattern for zsh."""
    for command in list_commands([page]):
        assert not re.search(r"[\[\]*]", re.sub(r"'[^']*'", "", command.text)), command.text


def test_python_of_the_readme_runs(desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    (block,) = (b for b in list_blocks(PAGES[:1]) if b.language == "python" and not b.file)
    assert len(block.text.splitlines()) <= 10
    monkeypatch.chdir(desk)
    with Image.open("photo.jpg") as image:
        size = (image.width * 2, image.height * 2)
        image.resize(size).save("reference.png")
    exec(block.text, {})
    assert "'psnr':" in capsys.readouterr().out
    with Image.open("photo_upscaled.png") as result:
        assert result.size == size


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_a_file_and_a_heading(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        name, _, anchor = target.partition("#")
        path = page.parent / name if name else page
        assert path.exists() or target.startswith("http"), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
            assert anchor in anchors, target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named_exist(page: Path) -> None:
    names = re.findall(r"`((?:sr|conf|tests|experiments|docs)/[\w/.]*)`", page.read_text(encoding="utf-8"))
    assert not [name for name in names if not re.search("NAME|GROUP|COMMAND", name) and not (ROOT / name).exists()]


def test_every_choice_of_a_group_is_documented() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    known = {word for words in re.findall(r"[`=\[,](\w+)", text) for word in words.split(",")}
    choices = [
        path
        for path in find_conf_dir().glob("*/**/*.yaml")
        if path.parent.name not in ("help", "experiment", "trainer")
    ]
    assert not [path for path in choices if path.stem not in known and path.stem[0] != "_"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_messages_under_troubleshooting_are_those_of_the_program(page: Path) -> None:
    """Each quotes a part of a message, with `…` for what is filled in."""
    section = page.read_text(encoding="utf-8").partition("## Troubleshooting")[2]
    quoted = [
        text for cell in re.findall(r"^\| ([^|]*) \|", section, re.MULTILINE) for text in re.findall(r"`([^`]+)`", cell)
    ]
    pieces = {
        text: [piece for piece in text.split("…") if " " in piece] for text in quoted if text not in FOREIGN_MESSAGES
    }
    assert not [
        text for text, parts in pieces.items() if not any(all(p in known for p in parts) for known in list_messages())
    ]


def test_layers_of_the_documents_are_those_that_lint_checks() -> None:
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ][0]
    text = (ROOT / "docs/extend.md").read_text(encoding="utf-8").partition("## Layers")[2].partition("\n## ")[0]
    written = [set(re.findall(r"`(\w+)`", line)) for line in re.findall(r"^\d+\. (.*)$", text, re.MULTILINE)]
    assert written == [set(layer.split(" | ")) for layer in contract["layers"]]


@pytest.mark.parametrize("page", [*PAGES, *STUDIES], ids=lambda page: str(page.relative_to(ROOT).with_suffix("")))
def test_options_that_are_named_exist(page: Path) -> None:
    """Each word of `model.optimizer.lr` is a key, a group or a choice below `conf/`."""
    text = page.read_text(encoding="utf-8")
    options = re.findall(r"`((?:model|data|trainer|track|paths|metric)\.(?!json)[\w.]+)[=`]", text)
    assert not [option for option in options if not set(option.split(".")) <= list_keys()]


@cache
def list_keys() -> set[str]:
    files = list(find_conf_dir().rglob("*.yaml"))
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    return {word for path in files for word in path.parts} | {p.stem for p in files} | set(re.findall(r"(\w+):", text))
