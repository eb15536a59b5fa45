"""`model.init=`: a training that starts with the weights of a file."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Answer
from test_interpolate import PLAIN, RESNET, WORDS, net, node, save_checkpoint
from torch import Tensor

from sr.checkpoint.load import initialize_weights
from sr.model.cnn import CNN
from sr.record.result import read_set_results
from sr.runtime.error import UserError
from sr.track.none import NoTracker

GAN_OPTIONS = ("model=gan", "model.warmup_steps=0", "model/discriminator=patch")


@pytest.fixture
def run(
    sr: Callable[..., Answer], world: Path, tmp_path: Path
) -> Iterator[Callable[..., tuple[Answer, dict[str, Tensor]]]]:
    """Return a function that trains one step at learning rate 0, and returns the answer and the save_checkpoint weights."""

    def command(*words: str) -> tuple[Answer, dict[str, Tensor]]:
        known = set((tmp_path / "runs").glob("*"))
        answer = sr("run", *WORDS, f"data.path={world}/photos", *words)
        new = set((tmp_path / "runs").glob("*")) - known
        assert (answer.code == 0) == (len(new) == 1), answer.err
        content = torch.load(new.pop() / "last.ckpt", weights_only=True) if new else {"state_dict": {}}
        return answer, content["state_dict"]

    return command


def select_weights(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def test_gan_starts_with_the_weights_of_a_cnn(run: Callable, tmp_path: Path) -> None:
    """The averaged weights of the file become those of the net and of its average."""
    wanted = net(PLAIN, 3).state_dict()
    save_checkpoint(tmp_path / "my cnn.ckpt", seed=3, prefix="ema.net.")
    answer, state = run("model.init=my cnn.ckpt", *GAN_OPTIONS)
    assert answer.code == 0, answer.err
    for prefix in ("net.", "ema.net."):
        weights = select_weights(prefix, state)
        assert all(torch.allclose(weights[name], value, atol=1e-7) for name, value in wanted.items())


def test_metrics_before_the_first_step_are_those_of_the_file(
    run: Callable, sr: Callable, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is given by the folder of its run; the net and its average are both evaluated."""
    (tmp_path / "gan").mkdir()
    file = save_checkpoint(tmp_path / "gan" / "best.ckpt", seed=3)
    points: list[tuple[int, dict[str, float]]] = []
    monkeypatch.setattr(NoTracker, "log_points", lambda _, values, step: points.append((step, values)))
    common = (f"paths.data={world}", "data.val=[Set5]", "data.test=[Set5]")
    assert run("model.init=gan", "model.optimizer.lr=1e-3", *common)[0].code == 0
    begun = {name.rpartition("/")[2]: value for step, values in points for name, value in values.items() if step == 0}
    assert sr("evaluate", f"checkpoint={file}", "metric/also=[]", "device=cpu", "track=none", *common[::2]).code == 0
    (found,) = tmp_path.glob("runs/*evaluate*/evaluate.json")
    expected = read_set_results(found)["Set5"].metrics["psnr"]
    assert [begun["psnr"], begun["psnr_raw"]] == pytest.approx([expected, expected], abs=1e-4)


def module(config: dict[str, Any]) -> CNN:
    from sr.config.build import build_part

    parts = dict.fromkeys(("loss", "optimizer", "schedule", "metric"))
    return CNN(net=build_part(config, "model.net"), color="rgb", ema=0.999, **parts)


@pytest.mark.parametrize("wrapped", ["{}", "module.{}", "model.net_g.{}"])
def test_published_weights_are_translated_to_the_names_of_the_net(tmp_path: Path, wrapped: str) -> None:
    config = node("rcan.RCAN", groups=1, blocks=1, reduction=2)
    author, begun = module(config).net.state_dict(), module(config)
    torch.save({"params_ema": {wrapped.format(key): value for key, value in author.items()}}, tmp_path / "theirs.pth")
    initialize_weights(begun, tmp_path / "theirs.pth")
    for name, value in begun.net.from_published(author).items():
        assert torch.equal(begun.net.state_dict()[name], value)
        assert torch.equal(begun.ema.net.state_dict()[name], value)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ({"config": PLAIN | {"scale": 4}}, "is of scale=4, but this model is of scale=2"),
        ({"config": PLAIN | {"channels": 1}, "color": "y"}, "is of color=y, but this model is of color=rgb"),
        ({"config": RESNET}, "It holds sr.net.srresnet.SRResNet with scale=2, channels=3, width=4, blocks=1"),
    ],
)
def test_checkpoint_of_another_net_is_an_error_that_names_it(tmp_path: Path, made: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=rf"^model\.init=\S+b\.ckpt .*{said}"):
        initialize_weights(module(PLAIN), save_checkpoint(tmp_path / "b.ckpt", **made))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("wide.ckpt", "does not fit model/net (3 of another"), ("wide.ckpt", "for this net type model.net.width=8 model.net."),
        ("missing.ckpt", "there is no such file"),
    ],
)  # fmt: skip
def test_wrong_file_is_an_error_before_there_is_a_run(run: Callable, tmp_path: Path, name: str, said: str) -> None:
    save_checkpoint(tmp_path / "wide.ckpt", PLAIN | {"width": 8})
    answer, _ = run(f"model.init={name}")
    assert answer.code == 2
    assert f"model.init={name}" in answer.err
    assert said in answer.err
    assert not list(tmp_path.glob("runs/*"))


@pytest.mark.slow
def test_published_file_of_another_net_is_an_error_that_names_it(run: Callable, tmp_path: Path) -> None:
    from sr.checkpoint import architecture
    from sr.config.build import build_part

    torch.save(
        build_part(architecture.compose_net_config("fsrcnn", 2, 1), "model.net").state_dict(),
        tmp_path / "theirs.pth",
    )
    answer, _ = run("model.init=theirs.pth")
    assert answer.code == 2
    assert "model.init=theirs.pth does not fit model/net" in answer.err
    assert "It holds model/net=fsrcnn" in answer.err


def test_resumed_run_ignores_model_init(run: Callable, tmp_path: Path) -> None:
    """The file need not exist any more."""
    save_checkpoint(tmp_path / "one.ckpt", seed=3)
    run("model.init=one.ckpt", "model.optimizer.lr=0.1")
    (folder,) = tmp_path.glob("runs/*")
    answer, state = run(
        "model.optimizer.lr=0.1", f"resume={folder}/last.ckpt", "trainer.max_steps=2", "model.init=missing.ckpt"
    )
    assert answer.code == 0, answer.err
    assert not torch.equal(select_weights("net.", state)["body.0.weight"], net(PLAIN, 3).state_dict()["body.0.weight"])
