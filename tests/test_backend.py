"""`sr.predict backend=…` and `precision=…`: other ways to compute a network, and what they change."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import write_image
from test_predict import save_checkpoint

from sr.checkpoint.backend import change_backend
from sr.checkpoint.load import LoadedNet
from sr.image.read import read_rgb
from sr.net.bf16 import Bf16Net
from sr.net.edsr import EDSR
from sr.net.imdn import IMDN


@pytest.fixture
def predict(sr: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable:
    """Upscale an image of 40×48 by a small network; the cache is in the folder of the test."""
    monkeypatch.setenv("SR_CACHE", str(tmp_path / "cache"))
    write_image(tmp_path / "photo.png", 40, 48)
    save_checkpoint(tmp_path / "best.ckpt")
    return lambda *words: sr("predict", "input=photo.png", "checkpoint=best.ckpt", "device=cpu", *words)


def read_psnr(text: str) -> float:
    """Return the decibels of the self-check."""
    return float(re.search(r": ([\d.]+) dB against float32 of PyTorch", text)[1])


def test_bf16_says_what_it_changes(predict: Callable) -> None:
    """Results of float32 in the folder are not taken for those of bf16."""
    exact = predict("output=out/")
    assert (exact.code, "dB" in exact.err) == (0, False), exact.err
    pixels = read_rgb(Path("out/photo_x2.png")).float()
    again = predict("output=out/", "precision=bf16", "overwrite=true")
    assert again.code == 0, again.err
    assert 40 < read_psnr(again.err) < 80
    assert "of photo.png" in again.err
    assert (read_rgb(Path("out/photo_x2.png")).float() - pixels).abs().mean() < 1
    assert "finished before" in predict("output=out/", "precision=bf16").out
    refused = predict("output=out/", "precision=fp32")
    assert refused.code == 2
    assert "photo_x2.png" in refused.err


def test_the_self_check_takes_the_first_image_that_can_be_read(predict: Callable, sr: Callable) -> None:
    """The others are upscaled as without it."""
    Path("in").mkdir()
    photo = Path("photo.png").read_bytes()
    Path("in/a.png").write_bytes(photo[: len(photo) // 2])
    Path("in/b.png").write_bytes(photo)
    answer = sr("predict", "input=in", "output=out", "checkpoint=best.ckpt", "device=cpu", "precision=bf16")
    assert answer.code == 2
    assert "of b.png" in answer.err
    assert "a.png: this image is damaged" in answer.err
    assert Path("out/b_x2.png").exists()


def test_bf16_computes_in_bfloat16() -> None:
    """The weights and the output stay float32."""
    net = IMDN(scale=2, channels=3).eval()
    lr = torch.rand(1, 3, 20, 24)
    with torch.inference_mode():
        difference = (Bf16Net(net)(lr) - net(lr)).abs().max()
        assert Bf16Net(net)(lr).dtype == torch.float32
    assert 1e-5 < difference < 0.1
    assert all(weight.dtype == torch.float32 for weight in net.parameters())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["backend=onnxruntime", "precision=bf16"], "precision=bf16: expected backend=torch or backend=openvino"),
        (["backend=onnxruntime", "device=cuda"], "backend=onnxruntime: expected device=cpu (found cuda)"),
        (["backend=openvino", "engine=ray"], "backend=openvino: expected engine=auto, none or process (found engine=ray)"),
        (["backend=openvino"], "backend=openvino: needs openvino (import of openvino halted; None in sys.modules): "
                               "pip install 'sr[openvino]'"),
        (["backend=onnxruntime"], "ONNX: needs onnxruntime (import of onnxruntime halted; None in sys.modules): "
                                  "pip install 'sr[onnx]'"),
        (["backend=tensorrt"], "backend=tensorrt: expected"),
    ],
)  # fmt: skip
def test_what_cannot_be_combined_or_found_is_said_before_the_work(
    predict: Callable, words: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("openvino", "onnxruntime"):
        monkeypatch.setitem(sys.modules, package, None)
    answer = predict("output=out/", *words)
    assert answer.code == 2
    assert message in answer.err
    assert "Traceback" not in answer.err


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_other_runtimes_give_the_results_of_pytorch(predict: Callable, backend: str) -> None:
    """The network is exported once; several processes open the graph themselves."""
    for package in (backend, "onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"sr[{'openvino' if backend == 'openvino' else 'onnx'}] is not installed")
    assert predict("output=torch/").code == 0
    first = predict("output=first/", f"backend={backend}")
    assert first.code == 0, first.err
    assert "exported to ONNX" in first.err
    assert read_psnr(first.err) > 100
    again = predict("output=again/", f"backend={backend}", "engine=process", "workers=1")
    assert again.code == 0, again.err
    assert "exported to ONNX" not in again.err
    expected, *found = (read_rgb(Path(name, "photo_x2.png")).int() for name in ("torch", "first", "again"))
    assert all((pixels - expected).abs().max() <= 1 for pixels in found)
    assert len(list(Path("cache/onnx").iterdir())) == 1


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_graph_of_levels_is_a_checkpoint(predict: Callable, sr: Callable, backend: str) -> None:
    for package in (backend, "onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    assert predict("output=torch/").code == 0
    assert sr("export", "checkpoint=best.ckpt", "exporter.dtype=uint8", "output=levels.onnx").code == 0
    answer = predict("output=graph/", "checkpoint=levels.onnx", f"backend={backend}")
    assert answer.code == 0, answer.err
    expected, found = (read_rgb(Path(name, "photo_x2.png")).int() for name in ("torch", "graph"))
    assert (found - expected).abs().max() <= 1


@pytest.mark.slow
def test_an_option_that_shows_in_no_weight_changes_the_graph(tmp_path: Path) -> None:
    """EDSR multiplies by `res_scale`: the graph of one value must not serve the other."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    torch.manual_seed(0)
    lr, state, results = torch.rand(1, 3, 9, 11), None, []
    for res_scale in (1.0, 0.1):
        options = {"scale": 2, "width": 8, "blocks": 1, "res_scale": res_scale}
        net = EDSR(**options).eval()
        state = state or net.state_dict()
        net.load_state_dict(state)
        node = {"_target_": "sr.net.edsr.EDSR", **options}
        model = LoadedNet(net, {"scale": 2, "color": "rgb", "model": {"net": node}}, {}, 0)
        results.append(change_backend(model, "onnxruntime", "fp32", tmp_path).net(lr))
        with torch.inference_mode():
            torch.testing.assert_close(results[-1], net(lr), atol=1e-5, rtol=0)
    assert (results[0] - results[1]).abs().max() > 1e-3
