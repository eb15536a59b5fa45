"""`sr.export`: what each format computes, against PyTorch and by the programs that read it; sizes, errors, the card."""

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage
import torch
from PIL import Image
from torch import Tensor, nn

from sr.checkpoint.graph import ImageGraph
from sr.checkpoint.load import LoadedNet, load_checkpoint
from sr.exporter.exporter import Exporter
from sr.exporter.price import Price
from sr.exporter.verification import ExportError, measure_agreement, require_agreement, require_price
from sr.image.resize import imresize
from sr.image.resize_graph import upscale_by_taps
from sr.net import dynamic_size
from sr.pretrained.weight_file import write_weights
from sr.runtime.error import UserError

onnx = pytest.importorskip("onnx", reason="sr[onnx] is not installed")
pytest.importorskip("onnxscript", reason="sr[onnx] is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="sr[onnx] is not installed")

SMALL = {"width": 8, "blocks": 1, "depth": 3, "groups": 1, "growth": 4, "depths": [2], "heads": [2], "window": 8}
NO_EXPORT = ("spandrel", "zero_filled")  # needs a weight file; transforms the whole image, with a table for each size
SAME_CLASS = ("edsr_large", "srresnet_small", "swinir")  # as another choice, with other numbers
# Of the graphs, those that take longest and those made of operations that others have as well. A new net is exported in CI.
NOT_IN_CI = (
    "bicubic",
    "carn",
    "carn_m",
    "efdn",
    "espcn",
    "fsrcnn",
    "hat",
    "imdn",
    "plain",
    "rcan",
    "rfdn",
    "srcnn",
    "srresnet",
    "srvgg",
    "swinir_light",
    "tutorial",
    "vdsr",
)


def save_net(build: Any, path: Path, node: dict[str, Any], color: str = "rgb", **config: int) -> Path:
    """Write a net with random weights to a file; all of its layers matter."""
    torch.manual_seed(0)
    net = build.build_part(node, "model.net")
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    write_weights(path, net.state_dict(), {"scale": node["scale"], "color": color, "model": {"net": node}, **config})
    return path


@pytest.fixture
def small(compose: Any, build: Any, tmp_path: Path) -> Callable[..., Path]:
    """`small(choice, scale, color)` writes a checkpoint of a small net of conf/model/net."""

    def save_small(choice: str, scale: int = 2, color: str = "rgb", **options: float) -> Path:
        channels = {"rgb": 3, "bands": 4}.get(color, 1)
        node = compose.net(choice, scale, channels)
        node |= {key: value for key, value in SMALL.items() if isinstance(node.get(key), type(value))}
        node |= options
        return save_net(build, tmp_path / f"{choice}.safetensors", node, color, channels=channels)

    return save_small


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Return an image of odd size."""
    levels = np.random.default_rng(0).integers(0, 256, (19, 27, 3), dtype=np.uint8)
    Image.fromarray(levels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.mark.slow(10)
def test_onnx_upscales_as_the_checkpoint_does(sr: Callable, small: Callable, photo: Path, tmp_path: Path) -> None:
    """Of a net for luma: the graph takes RGB, and chroma is upscaled bicubically in it."""
    checkpoint, results = small("plain", 3, "y"), {}
    answer = sr("export", f"checkpoint={checkpoint}", "output=out", "license=cc0-1.0")
    assert answer.code == 0, answer.err
    assert "15 batches of five sizes" in answer.out
    for name, file in (("own", checkpoint), ("onnx", "out/plain.onnx")):
        answer = sr("predict", f"checkpoint={file}", f"input={photo}", f"output={name}.png")
        assert answer.code == 0, answer.err
        results[name] = np.asarray(Image.open(f"{name}.png")).astype(int)
    assert results["own"].shape == (57, 81, 3)
    assert np.abs(results["own"] - results["onnx"]).max() <= 1
    card = Path("out/README.md").read_text()
    assert "license: cc0-1.0" in card
    assert "Plain for luma" in card

    code = card.partition("```python\n")[2].partition("```")[0]
    Image.open(photo).save("photo.jpg", quality=95)
    Path("out/use.py").write_text(code.replace('"photo.jpg"', '"photo.png"').replace("plain.onnx", "out/plain.onnx"))
    exec(compile(Path("out/use.py").read_text(), "use.py", "exec"), {})  # the code of the card, as a reader types it
    assert np.abs(np.asarray(Image.open("photo_x3.png")).astype(int) - results["own"]).max() <= 1


@pytest.mark.slow(3)
def test_uint8_is_rounded_in_the_graph(sr: Callable, small: Callable, photo: Path) -> None:
    checkpoint = small("espcn")
    answer = sr("export", f"checkpoint={checkpoint}", "exporter.dtype=uint8", "output=net.onnx")
    assert answer.code == 0, answer.err
    lr = np.asarray(Image.open(photo)).transpose(2, 0, 1)[None]
    (found,) = onnxruntime.InferenceSession("net.onnx").run(None, {"lr": lr})
    model = load_checkpoint(checkpoint)
    with torch.no_grad():
        expected = (model.net(torch.tensor(lr) / 255).clamp(0, 1) * 255 + 0.5).floor()
    assert found.dtype == np.uint8
    assert (torch.tensor(found).int() - expected.int()).abs().max() <= 1
    loaded = load_checkpoint("net.onnx")
    assert torch.equal((loaded.net(torch.tensor(lr) / 255) * 255).round().int(), torch.tensor(found).int())


@pytest.mark.slow(9)
def test_other_formats(sr: Callable, small: Callable) -> None:
    """A program of torch.export, bare weights, and a file that spandrel recognizes."""
    checkpoint = small("rrdb", growth=32)  # ×2: unshuffles pixels, and pads odd sizes
    lr = torch.rand(2, 3, 21, 13)
    with torch.no_grad():
        expected = load_checkpoint(checkpoint).net(lr)
    for exporter, file in (
        ("torch", "rrdb.pt2"),
        ("safetensors", "rrdb.safetensors"),
        ("spandrel", "rrdb.safetensors"),
    ):
        answer = sr("export", f"checkpoint={checkpoint}", f"exporter={exporter}", f"output={exporter}")
        assert answer.code == 0, answer.err
        assert Path(exporter, file).exists()
    program = torch.export.load("torch/rrdb.pt2").module()
    torch.testing.assert_close(program(lr), expected)
    assert torch.equal(load_checkpoint("safetensors/rrdb.safetensors").net(lr).detach(), expected)
    from spandrel import ModelLoader

    model = ModelLoader().load_from_file("spandrel/rrdb.safetensors")
    torch.testing.assert_close(model.model(lr[..., :20, :12]), load_checkpoint(checkpoint).net(lr[..., :20, :12]))


def test_nothing_is_overwritten_or_left_half_done(sr: Callable, small: Callable) -> None:
    checkpoint = small("espcn")
    words = (f"checkpoint={checkpoint}", "exporter=safetensors")
    assert sr("export", *words, "output=a").code == 0
    answer = sr("export", *words, "output=a")
    assert answer.code == 2
    assert "a/espcn.safetensors exists; overwrite=true replaces it" in answer.err
    assert sr("export", *words, "output=a", "overwrite=true").code == 0
    Path("README.md").write_text("# My project")
    assert sr("export", *words, "output=net.safetensors", "overwrite=true").code == 0
    assert Path("README.md").read_text() == "# My project"
    assert "Upscales images" in Path("net.md").read_text()
    answer = sr("export", *words, "output=/proc/none")
    assert answer.code == 2
    assert "output=/proc/none: cannot be written" in answer.err
    answer = sr("export", *words, "output=net.onnx")
    assert answer.code == 2
    assert "expected a folder or a file .safetensors" in answer.err
    answer = sr("export", f"checkpoint={checkpoint}", "exporter=spandrel", "output=b")  # which has no ESPCN
    assert answer.code == 2
    assert "expected a network that spandrel knows, those of model/net=edsr, " in answer.err
    assert "found ESPCN" in answer.err
    assert not list(Path("b").iterdir())


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "onnxruntime cannot read it"), (b"junk" * 99, "cannot read it")]
)
def test_a_damaged_graph_is_refused_by_name(sr: Callable, photo: Path, content: bytes, message: str) -> None:
    Path("bad.onnx").write_bytes(content)
    answer = sr("predict", "checkpoint=bad.onnx", f"input={photo}", "output=x.png")
    assert answer.code == 2
    assert "checkpoint=bad.onnx" in answer.err
    assert message in answer.err


class Wrong(Exporter):
    """Writes nothing, and computes something else for one size."""

    name, suffix = "wrong", ".wrong"

    def __init__(self, wrong: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.wrong, self.net = wrong, None

    def write(self, model: LoadedNet, path: Path) -> None: ...

    def write_usage(self, file: str, model: LoadedNet) -> str:
        return ""

    def load(self, path: Path) -> nn.Module:
        class Net(nn.Module):
            def forward(_, lr: Tensor) -> Tensor:
                return self.wrong(lr, self.net(lr)) if lr.shape == (2, 3, 90, 17) else self.net(lr)

        return Net()


def fail(lr: Tensor, sr: Tensor) -> Tensor:
    raise RuntimeError("the graph is for one size")


@pytest.mark.parametrize("wrong", [lambda lr, sr: sr + 2e-4, lambda lr, sr: sr[..., 1:], lambda lr, sr: sr / 0, fail])
def test_a_file_that_differs_is_refused(small: Callable, wrong: Callable) -> None:
    exporter = Wrong(wrong)
    model = load_checkpoint(small("espcn"))
    exporter.net = model.net
    with pytest.raises(ExportError, match="2 images of 17×90"):
        require_agreement(exporter, measure_agreement(exporter, model, Path("x")))


def test_a_network_that_computes_nan_is_refused(small: Callable) -> None:
    """A file that makes numbers of it, such as levels, does not compute the same."""
    exporter, model = Wrong(fail), load_checkpoint(small("espcn"))
    exporter.net = copy.deepcopy(model.net)
    next(model.net.parameters()).data.fill_(torch.nan)
    with pytest.raises(ExportError, match="the exported file fails for 1 images of 53×37"):
        require_agreement(exporter, measure_agreement(exporter, model, Path("x")))


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("size", [(1, 1), (2, 5), (17, 33)])
def test_resizing_in_a_graph_equals_imresize(scale: int, size: tuple[int, int]) -> None:
    """It is used while a net is exported; here without exporting."""
    image = torch.rand(2, 3, *size, dtype=torch.float64)
    torch.testing.assert_close(upscale_by_taps(image, scale), imresize(image, scale), rtol=0, atol=1e-14)
    levels = (image * 255).to(torch.uint8)
    assert torch.equal(upscale_by_taps(levels.double(), scale, 255), imresize(levels, scale).double())


def test_sizes_in_a_graph_equal_those_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for n in (1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 100, 333):
        x, results = torch.rand(1, 2, n, 11), []
        for is_exporting in (False, True):
            monkeypatch.setattr(dynamic_size, "is_exporting", lambda value=is_exporting: value)
            pooled = [dynamic_size.pool_to_fraction(x, level) for level in (1, 2, 3)]
            stretched = [dynamic_size.stretch_to_size(part, (n, 11)) for part in pooled]
            results.append([*pooled, *stretched, dynamic_size.pad_to_side(x, 15), dynamic_size.crop_to_size(x, (1, 5))])
        assert all(map(torch.equal, *results)), n


@pytest.mark.slow(12)
@pytest.mark.group("model/net", long=NOT_IN_CI)
def test_every_net_exports_at_any_size(choice: str, small: Callable, tmp_path: Path) -> None:
    """Within 1e-4 of PyTorch at five sizes, each with one to three images.

    ONNX only, whose graph is made from a program of torch.export. experiments/exports measures all combinations.
    """
    if choice in NO_EXPORT + SAME_CLASS:
        return
    from sr.exporter.onnx import OnnxExporter

    exporter, path = OnnxExporter(), tmp_path / "net.onnx"
    model = load_checkpoint(small(choice, 3, "bands"))
    exporter.write(model, path)
    agreement = measure_agreement(exporter, model, path)
    assert agreement.inputs == 15
    assert agreement.difference <= 1e-4


@pytest.mark.slow(12)
@pytest.mark.group("model/net")
def test_spandrel_computes_the_same_or_does_not_know_the_net(choice: str, small: Callable, tmp_path: Path) -> None:
    """At scale 4, which all of its architectures have; it takes some numbers for granted, of HAT too large ones."""
    from sr.exporter.spandrel import KNOWN, SpandrelExporter

    if choice in NO_EXPORT + SAME_CLASS or choice == "hat":
        return
    model = load_checkpoint(small(choice, 4, growth=32) if choice == "rrdb" else small(choice, 4))
    exporter, path = SpandrelExporter(), tmp_path / "net.safetensors"
    if choice not in KNOWN:
        with pytest.raises(UserError, match=f"a network that spandrel knows.*found {type(model.net).__name__}"):
            exporter.write(model, path)
        return
    exporter.write(model, path)
    require_agreement(exporter, measure_agreement(exporter, model, path))


def test_edsr_is_an_rcan_to_spandrel(small: Callable, tmp_path: Path) -> None:
    """Loaded as its users do; with shares of the residuals, at an odd size, to the border."""
    import safetensors.torch
    from spandrel import ModelLoader

    model = load_checkpoint(small("edsr", 3, blocks=3, res_scale=0.1))
    safetensors.torch.save_file(model.net.to_spandrel(), tmp_path / "edsr.safetensors")
    loaded = ModelLoader().load_from_file(tmp_path / "edsr.safetensors")
    lr = torch.rand(2, 3, 17, 23)
    with torch.no_grad():
        torch.testing.assert_close(loaded.model(lr.clone()), model.net(lr), rtol=0, atol=1e-5)
    assert (loaded.architecture.name, loaded.scale) == ("RCAN", 3)


@pytest.mark.long
def test_published_digits_come_from_the_graph(sr: Callable, sr_data: Path) -> None:
    """IMDN's own weights at ×4: 32.21/.8948 on Set5, as its paper says."""
    checkpoint = sr_data / "weights" / "IMDN" / "IMDN_x4.pth"
    answer = sr("export", f"checkpoint={checkpoint}", "output=imdn_x4.onnx")
    assert answer.code == 0, answer.err
    answer = sr("evaluate", "checkpoint=imdn_x4.onnx", "data.test=[Set5]", f"paths.data={sr_data}")
    assert answer.code == 0, answer.err
    assert "32.21" in answer.out
    assert "0.8948" in answer.out


@pytest.mark.long
def test_int8_costs_what_is_printed(sr: Callable) -> None:
    """sr's own network; the dB in the answer are those of images that calibrated nothing."""
    answer = sr("export", "checkpoint=small_x2", "exporter.precision=int8", "output=out")
    assert answer.code == 0, answer.err
    found, exact = map(float, re.search(r"PSNR ([\d.]+) instead of ([\d.]+) dB \(", answer.out).groups())
    assert exact - 1 <= found <= exact + 0.1
    assert f"| PSNR in this precision | {found:.2f} instead of" in Path("out/README.md").read_text()
    operators = [node.op_type for node in onnx.load("out/small_x2.onnx").graph.node]
    assert operators.count("QuantizeLinear") >= 3
    model, graph = load_checkpoint("small_x2"), load_checkpoint("out/small_x2.onnx")
    image = torch.from_numpy(skimage.data.chelsea()).permute(2, 0, 1)[None, :, 40:140, 60:193]
    sizes = [graph.net(image[..., :h, :w] / 255).shape for h, w in ((100, 133), (7, 9))]
    assert sizes == [(1, 3, 200, 266), (1, 3, 14, 18)]
    error = graph.net(image / 255) - ImageGraph(model.net, model.color)(image / 255)
    assert 0 < float(error.detach().square().mean()) < 10**-3.5  # 35 dB


def test_int8_is_refused_where_it_cannot_be_right(sr: Callable, small: Callable, photo: Path) -> None:
    words = ("export", f"checkpoint={small('espcn')}", "output=out")
    for options, message in (
        (("exporter.calibration=.",), "exporter.calibration=.: expected exporter.precision=int8 (found fp32)"),
        (("exporter.precision=int8", "exporter.calibration=."), "expected images of 128 pixels or more on each side"),
        (("exporter.precision=int8", "exporter.calibration=none"), "exporter.calibration=none"),
    ):
        answer = sr(*words, *options)
        assert answer.code == 2
        assert message in answer.err
        assert not list(Path().glob("out/*"))
    require_price(Price(30, 29.1, 8))
    with pytest.raises(
        ExportError, match=r"a loss of at most 1.0 dB \(found PSNR 28.50 instead of 30.00 dB \(-1.500\)"
    ):
        require_price(Price(30, 28.5, 8))


@pytest.mark.slow(5)
@pytest.mark.parametrize("exporter", ["onnx", "torch", "safetensors"])
def test_bands_are_exported(sr: Callable, small: Callable, exporter: str) -> None:
    """A net of four bands; its graph is a checkpoint for images of four bands."""
    checkpoint = small("espcn", 2, "bands")
    answer = sr("export", f"checkpoint={checkpoint}", f"exporter={exporter}", "output=out")
    assert answer.code == 0, answer.err
    assert "Upscales images ×2: ESPCN for 4 bands" in Path("out/README.md").read_text()
    if exporter != "torch":
        loaded, lr = load_checkpoint(next(Path("out").glob("espcn.*"))), torch.rand(1, 4, 9, 7)
        assert (loaded.color, loaded.channels) == ("bands", 4)
        torch.testing.assert_close(loaded.net(lr), load_checkpoint(checkpoint).net(lr))
