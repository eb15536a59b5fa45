"""What the commands import: a package that a command does not use must not delay it."""

import subprocess
import sys
from pathlib import Path

from conftest import write_image
from test_predict import save_checkpoint

PROGRAM = """
import gc
import sys
from sr import predict

SLOW = {"pytorch_lightning", "lightning_fabric", "torchmetrics", "mlflow", "torchvision", "torch._dynamo", "torch._inductor",
        "sympy", "pandas", "scipy", "matplotlib", "skimage", "sklearn", "spandrel", "onnx", "cv2"}

def run(*words, without):
    sys.argv = ["sr-predict", *words]
    try:
        predict.main()
    except SystemExit as stop:
        assert not stop.code, words
    loaded = without & set(sys.modules)
    assert not loaded, (words, loaded)

run("--help", without=SLOW | {"torch", "numpy", "PIL"})
run("--models", without=SLOW | {"torch", "numpy", "PIL"})
run("input=photo.png", "output=out/", "scale=2", "progress=false", without=SLOW)
run("input=photo.png", "output=one/", "checkpoint=best.ckpt", "progress=false", without=SLOW)
assert gc.isenabled()
assert gc.get_freeze_count() > 100_000  # of torch alone
"""


def test_prediction_imports_no_training(tmp_path: Path) -> None:
    """With sr's own network, and with that of a checkpoint."""
    write_image(tmp_path / "photo.png", 16, 24)
    save_checkpoint(tmp_path / "best.ckpt")
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/photo_x2.png").exists()
