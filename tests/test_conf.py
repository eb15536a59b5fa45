"""Contract tests: every YAML below `conf/` (and below --config-dir) is found, composed, built and used."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import write_image
from scenes import make_bands, write_scene
from specimen import slim_vgg
from volumes import make_voxels, write_series, write_volume

from sr.config import schema
from sr.config.cli import find_conf_dir

if TYPE_CHECKING:
    from sr.training.training import Training

GAN_PARTS = ("model/discriminator", "model/adversarial")
NEEDS = {
    "data=folder": ["data.path={world}/photos"],
    "data=pair": ["data.hr={world}/photos", "data.lr={world}/small"],
    "data=benchmark": ["model/net=bicubic"],
    "data=dicom": ["data.path={world}/dicom", "color=gray", "metric.depth=16"],
    "data=geotiff": ["data.path={world}/scenes"],
    "data=nifti": ["data.path={world}/nifti", "color=gray", "metric.depth=16"],
    "data=video": ["data.path={world}/clips"],
    "data=internal": ["data.path={world}/photos/p0.png"],
    "experiment=zssr": ["data.path={world}/photos/p0.png"],
    "model/net=tutorial": ["color=gray"],
    "model/net=edsr_large": ["model.net.blocks=1", "model.net.width=16"],  # checkpoints of megabytes, not of gigabytes
    "model/net=rcan": ["model.net.groups=1", "model.net.blocks=1"],
    "model/net=rrdb": ["model.net.blocks=1", "model.net.width=16", "model.net.growth=8"],
    "model/net=srresnet": ["model.net.blocks=2", "model.net.width=16"],
    "model/net=edsr": ["model.net.blocks=2", "model.net.width=16"],  # the contract is of shapes, not of size
    "model/net=carn": ["model.net.width=16"],
    "model/net=carn_m": ["model.net.width=16"],
    "model/net=vdsr": ["model.net.depth=4", "model.net.width=16"],
    "model/net=imdn": ["model.net.blocks=2", "model.net.width=16"],
    "model/net=rfdn": ["model.net.blocks=1", "model.net.width=16"],
    "model/net=efdn": ["model.net.width=16"],
    "model/net=span": ["model.net.width=8"],
    "model/net=safmn": ["model.net.blocks=2", "model.net.width=8"],
    "model/net=swinir": ["model.net.depths=[2]", "model.net.heads=[2]", "model.net.width=12"],
    "model/net=swinir_light": ["model.net.depths=[2]", "model.net.heads=[2]", "model.net.width=12"],
    "model/net=hat": [
        "model.net.depths=[2]",
        "model.net.heads=[2]",
        "model.net.width=12",
        "model.net.window=8",
        "model.net.squeeze_factor=4",
    ],
}
SMALL = {"data": ["data.batch=4", "data.patch=32"], "data=cifar10": ["data.batch=4"], "data=benchmark": []}


def words(group: str, choice: str, world: Path) -> list[str]:
    typed = f"{group}={choice}"
    gan = ["model=gan"] if group in GAN_PARTS else []
    return [*gan, typed, *(word.format(world=world) for word in NEEDS.get(typed, []))]


def small(net: str) -> list[str]:
    """Return the overrides that make a net small."""
    return [word for word in NEEDS.get(f"model/net={net}", []) if word.startswith("model.net.")]


def train(config: dict[str, Any], choices: dict[str, str], folder: Path, steps: int = 2) -> "Training":
    """Train a few steps, validate and test."""
    from sr.training.training import Training

    config["paths"]["runs"] = str(folder)
    config["trainer"] |= {"max_steps": steps, "max_epochs": None, "val_check_interval": 2, "accelerator": "cpu"}
    if "warmup_steps" in config["model"]:
        config["model"]["warmup_steps"] = 1
    training = Training(config, choices, [])
    training.run()
    return training


def two_steps(config: dict[str, Any], choices: dict[str, str], folder: Path) -> dict[str, float]:
    """Train two steps, validate and test; return the metrics by name."""
    from sr.metric.key import name_metrics

    return name_metrics(train(config, choices, folder).model.metrics)


def test_every_yaml_is_in_a_tested_group() -> None:
    tested = {
        "data",
        "data/degrade",
        "data/augment",
        "model",
        "metric",
        "trainer",
        "track",
        "experiment",
        "hydra/help",
        "exporter",
    }
    tested |= {"metric/also", "profile", "sweep", "sweep/pruner", "sweep/pool"}
    tested |= {f"model/{part}" for part in ("net", "loss", "optimizer", "schedule", "alarm")}
    tested |= {f"model/{part}" for part in ("discriminator", "adversarial", "penalty")}
    found = {str(path.parent.relative_to(find_conf_dir())) for path in find_conf_dir().rglob("*.yaml")} - {"."}
    assert found == tested


@pytest.mark.parametrize("command", [path.stem for path in find_conf_dir().glob("*.yaml")])
def test_each_command_has_a_module_and_a_help(command: str, sr: Any) -> None:
    assert (find_conf_dir() / "hydra" / "help" / f"{command}.yaml").exists()
    answer = sr(command, "--help")
    assert answer.code == 0
    assert f"sr.{command}" in answer.out


@pytest.mark.group("model/net")
@pytest.mark.parametrize("scale", [*schema.SCALES[:-1], pytest.param(schema.SCALES[-1], marks=pytest.mark.slow(1))])
def test_net(choice: str, scale: int, compose: Any, build: Any) -> None:
    """The contract of `sr.net.contract.Net`, for any number of channels, odd sizes and a single pixel; gradients for all."""
    import torch

    from sr.net.contract import Net

    for channels in (1, 3, 4):
        net = build.build_part(compose.net(choice, scale, channels, *small(choice)), "model.net")
        assert isinstance(net, Net)
        assert (net.scale, net.channels) == (scale, channels)
        assert net.receptive_field is None or (net.receptive_field % 2 == 1 and net.receptive_field > 0)
        with torch.no_grad():
            assert net.eval()(torch.rand(1, channels, 1, 1)).shape == (1, channels, scale, scale)
        net.train()
        lr = torch.rand(2, channels, 9, 13)
        given = lr.clone()
        result = net(lr)
        assert torch.equal(lr, given)  # the input is not changed
        assert result.shape == (2, channels, 9 * scale, 13 * scale)
        assert result.dtype == lr.dtype
        assert result.isfinite().all()
        if list(net.parameters()):
            result.square().mean().backward()
            assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.group("model/net")
def test_net_learns_tests_and_loads(choice: str, compose: Any, world: Path, tmp_path: Path) -> None:
    """Two steps through the whole framework; the checkpoint has the step and config of the run."""
    import torch

    from sr.checkpoint.load import load_checkpoint

    config = compose(
        *words("model/net", choice, world), "data=folder", f"data.path={world}/photos", *SMALL["data"], "track=none"
    )
    metrics = two_steps(config, compose.choices, tmp_path)
    assert torch.isfinite(torch.tensor(metrics["test/folder/psnr"]))
    for file in tmp_path.rglob("best.ckpt"):
        loaded = load_checkpoint(file, trust=[config["model"]["net"]["_target_"].rpartition(".")[0]])
        assert loaded.step == 2
        assert loaded.config == {key: part for key, part in config.items() if key != "track"}


@pytest.mark.group("data")
def test_data(choice: str, compose: Any, world: Path, tmp_path: Path) -> None:
    small = SMALL.get(f"data={choice}", SMALL["data"])
    if choice == "dicom":
        write_series(world / "dicom", make_voxels((12, 40, 36)))
    if choice == "geotiff":
        pytest.importorskip("rasterio", reason="rasterio is not installed: pip install 'sr[satellite]'")
        for k in range(3):
            write_image(world / "scenes" / f"s{k}.tif", seed=k)
    if choice == "nifti":
        write_volume(world / "nifti" / "a.nii.gz", make_voxels((12, 40, 36)))
    if choice == "video":
        for k in range(20):
            write_image(world / "clips" / "hall" / f"{k:02d}.png", seed=k // 5)
    config = compose(*words("data", choice, world), *small, "track=none")
    metrics = two_steps(config, compose.choices, tmp_path)
    assert any(name.startswith("test/") for name in metrics)


@pytest.mark.group("data/degrade")
@pytest.mark.parametrize("channels", [1, 3])
def test_degradation(choice: str, channels: int, compose: Any, build: Any) -> None:
    """uint8 HR of odd sizes becomes uint8 LR, equally in a batch and one by one; a random one has a seed for each image."""
    import torch

    if choice == "h264":
        pytest.importorskip("av", reason="PyAV is not installed: pip install 'sr[video]'")
    degrade = build.build_part(compose(f"data/degrade={choice}", "scale=3")["data"]["degrade"], "data.degrade")
    hr = torch.randint(0, 256, (4, channels, 27, 39), dtype=torch.uint8)
    seeds = torch.arange(4)
    given = [(hr,), (hr[1:2],)] if degrade.fixed else [(hr, seeds), (hr[1:2], seeds[1:2])]
    lr = degrade(*given[0])
    assert (lr.dtype, lr.shape) == (torch.uint8, (4, channels, 9, 13))
    assert torch.equal(degrade(*given[0]), lr)
    assert torch.equal(degrade(*given[1]), lr[1:2])
    assert degrade.fixed or not torch.equal(degrade(hr, seeds + 4), lr)


@pytest.mark.group("model")
def test_model(choice: str, compose: Any, world: Path, tmp_path: Path) -> None:
    """Each model with each color, with accumulation and clipping."""
    for color in schema.COLORS:
        config = compose(
            f"model={choice}", f"color={color}", "data=folder", f"data.path={world}/photos", *SMALL["data"], "track=none",
            "trainer.accumulate_grad_batches=2", "trainer.gradient_clip_val=0.5",
        )  # fmt: skip
        metrics = two_steps(config, compose.choices, tmp_path / color)
        assert metrics["test/folder/psnr"] > 5


@pytest.mark.group("model/net")
def test_a_gan_takes_any_net(choice: str, compose: Any, build: Any, world: Path) -> None:
    assert build.build_model(compose("model=gan", *words("model/net", choice, world))).net.scale == 2


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), True),
        (("trainer.precision=bf16-mixed",), True),
        (("trainer.precision=16-mixed",), False),  # the gradient has to be unscaled for the guard and for clipping
        (("model.optimizer.fused=false",), False),
        (("model/optimizer=sgd",), True),
        (("model/optimizer=adamw", "model.optimizer.fused=true"), True),
    ],
)
def test_optimizers_have_one_kernel_for_all_weights(
    words: tuple[str, ...], expected: bool, compose: Any, build: Any
) -> None:
    module = build.build_model(compose(*words))
    assert module.optimizer(list(module.net.parameters())).param_groups[0]["fused"] is expected


def test_both_optimizers_of_a_gan_have_one_kernel_for_all_weights(compose: Any, build: Any) -> None:
    module = build.build_model(compose("model=gan"))
    for optimizer in (module.optimizer, module.discriminator_optimizer):
        assert optimizer(list(module.net.parameters())).param_groups[0]["fused"]


@pytest.mark.group("model/discriminator")
def test_a_gan_takes_any_discriminator(choice: str, compose: Any, world: Path, tmp_path: Path) -> None:
    config = compose(
        "model=gan", f"model/discriminator={choice}", "model.discriminator.width=4", "data=folder",
        f"data.path={world}/photos", *SMALL["data"], "track=none",
    )  # fmt: skip
    assert two_steps(config, compose.choices, tmp_path)


@pytest.mark.slow  # all of them together; tests/test_options.py composes each
@pytest.mark.group("experiment")
def test_experiment(choice: str, compose: Any, world: Path, tmp_path: Path) -> None:
    """It composes, trains two steps, resumes for a third, and has a README that contains its command."""
    import torch

    recipe = compose(f"experiment={choice}")
    where = recipe["data"].get("path")
    for name in recipe["data"].get("exclude") or []:  # an excluded image must exist
        write_image(world / (where if isinstance(where, str) else where[0]) / f"{name}.png")
    if choice.startswith("sentinel2"):
        pytest.importorskip("rasterio", reason="rasterio is not installed: pip install 'sr[satellite]'")
        for seed, name in enumerate([where, *recipe["data"]["test"]]):
            write_scene(world / name, make_bands(height=200, seed=seed))
    if choice == "mr_x2":
        write_series(world / where, make_voxels((12, 64, 60)))
    cheap = [
        f"data.{option}={value}"
        for option, value in {"batch": 2, "patch": 48, "repeat": 4}.items()
        if option in recipe["data"]
    ]
    cheap += ["model.discriminator.width=4"] if "discriminator" in recipe["model"] else []
    cheap += [f"model.loss.perceptual.weights={slim_vgg(tmp_path)}"] if "perceptual" in recipe["model"]["loss"] else []
    typed = words("experiment", choice, world)
    config = compose(*typed, "track=none", *cheap, *small(compose.choices["model/net"]))
    first = train(config, compose.choices, tmp_path)
    assert first.model.metrics
    resumed = train(config | {"resume": str(first.folder)}, compose.choices, tmp_path, steps=3)
    assert resumed.folder == first.folder
    contents = [torch.load(first.folder / name, weights_only=True) for name in ("previous.ckpt", "last.ckpt")]
    assert [content["global_step"] for content in contents] == [2, 3]
    study = find_conf_dir().parent / "experiments" / choice / "README.md"
    if find_conf_dir().name == "conf" and (find_conf_dir() / "experiment" / f"{choice}.yaml").exists():
        assert f"experiment={choice}" in study.read_text(encoding="utf-8")


@pytest.mark.group("hydra/help")
def test_help_belongs_to_a_command(choice: str) -> None:
    assert (find_conf_dir() / f"{choice}.yaml").exists()
